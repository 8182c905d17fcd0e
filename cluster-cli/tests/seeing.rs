//! `cluster status` and `cluster top`, from outside: what they show of a cluster, and how `top` leaves
//! the terminal.

#[path = "support/pty.rs"]
mod pty;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZero;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use pty::Terminal;
use rustix::process::Signal;
use rustix::termios::{LocalModes, tcgetattr};
use serde_json::{Value, json};
use support::{Cluster, Folder, cluster, eventually, get, kill, nodes};

/// A status with everything in it.
const STATUS: &str = include_str!("../src/status/full.json");

/// Stands in for a cluster: answers `status` as one would whose uptime goes on, and writes down what
/// else it is asked for.
struct Stand {
    path: PathBuf,
    calls: Arc<Mutex<Vec<(String, Value)>>>,
    clients: Arc<Mutex<Vec<UnixStream>>>,
    over: Arc<AtomicBool>,
}

impl Stand {
    fn at(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let (calls, clients, over) =
            <(Arc<Mutex<_>>, Arc<Mutex<Vec<_>>>, Arc<AtomicBool>)>::default();
        thread::spawn({
            let (calls, clients, over) = (calls.clone(), clients.clone(), over.clone());
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    clients.lock().unwrap().push(client.try_clone().unwrap());
                    let calls = calls.clone();
                    thread::spawn(move || answer(client, &calls));
                }
            }
        });
        Self { path: path.into(), calls, clients, over }
    }

    /// It goes away, as by `kill -9`.
    fn vanish(self) {}

    fn calls(&self, method: &str) -> Vec<Value> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(name, _)| name == method).map(|(_, params)| params.clone()).collect()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // The accepting process sees that by a client.
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
        for client in self.clients.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn answer(client: UnixStream, calls: &Mutex<Vec<(String, Value)>>) {
    let mut writer = client.try_clone().unwrap();
    for line in BufReader::new(client).lines().map_while(Result::ok) {
        let request: Value = serde_json::from_str(&line).unwrap();
        let method = request["method"].as_str().unwrap().to_owned();
        let mut calls = calls.lock().unwrap();
        let looks = calls.iter().filter(|(name, _)| name == "status").count() as u64;
        calls.push((method.clone(), request["params"].clone()));
        drop(calls);
        let result = match method.as_str() {
            "status" => {
                let mut status: Value = serde_json::from_str(STATUS).unwrap();
                status["uptimeMs"] = json!(1_000_000 + looks * 1000);
                status["workers"][0]["connections"] = json!(1000 + looks * 7);
                status
            }
            "reload" | "scale" => json!(true),
            other => panic!("{other} is asked for"),
        };
        let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
        if writeln!(writer, "{answer}").is_err() {
            return;
        }
    }
}

#[test]
fn status_is_a_table_for_people_and_json_for_programs() {
    let folder = Folder::new("status");
    let path = folder.0.join("control");
    let _stand = Stand::at(&path);
    let shown = cluster().arg("status").arg("--control").arg(&path).output().unwrap();
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("3596")).expect(&text);
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells[..5], ["0", "5", "3596", "ready", "1.2s"], "{text}");
    assert_eq!(cells[8..11], ["4200", "2", "2.3ms"], "{text}");
    assert!(text.contains("slot 2 is vacant") && text.contains("signal SIGKILL"), "{text}");

    let json = cluster().args(["status", "--json", "--control"]).arg(&path).output().unwrap();
    assert!(json.status.success());
    let value: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["workers"][0]["ackLatency"]["bucketsUs"][1], json!([250, 900]));
}

#[test]
fn a_real_cluster_says_what_it_does() {
    const CONNECTIONS: u64 = 20;
    let folder = Folder::new("real");
    let path = folder.0.join("control");
    let mut run = cluster();
    run.args(["run", "-n", "2", "--demo-listen", "127.0.0.1:0", "--http", "0", "--control"]);
    let running = Cluster::start(run.arg(&path));
    let address = running.listening(2);
    for _ in 0..CONNECTIONS {
        get(address).expect("it serves");
    }
    let status = || {
        let shown = cluster().args(["status", "--json", "--control"]).arg(&path).output().unwrap();
        assert!(shown.status.success());
        serde_json::from_slice::<Value>(&shown.stdout).unwrap()
    };
    // A worker's answer may come later than the client's.
    let status = eventually("all are handed over", || {
        Some(status()).filter(|status| status["totals"]["handedOver"] == CONNECTIONS)
    });
    let workers = status["workers"].as_array().unwrap();
    let sum = |of: fn(&Value) -> &Value| -> u64 {
        workers.iter().map(|worker| of(worker).as_u64().unwrap()).sum()
    };
    assert_eq!(sum(|worker| &worker["connections"]), CONNECTIONS, "{status}");
    assert_eq!(sum(|worker| &worker["ackLatency"]["count"]), CONNECTIONS, "{status}");
    assert_eq!((&status["wanted"], &status["ready"]), (&json!(2), &json!(true)));
    if cfg!(target_os = "linux") {
        assert!(sum(|worker| &worker["rssBytes"]) > 1_000_000, "{status}");
    }
    let shown = cluster().arg("status").arg("--control").arg(&path).output().unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("2 of 2 workers ready"), "{text}");
    for pid in running.worker_pids() {
        assert!(text.contains(&format!(" {pid} ")), "{text}");
    }

    let http = running.err.wait_for(1, |line| line.contains("http://"));
    let http = http[0].split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
    let metrics = fetch(http.parse().unwrap(), "/metrics");
    let taken = sum_of(&metrics, "cluster_slot_connections_total");
    assert_eq!(taken, CONNECTIONS as f64, "{metrics}");
    running.end();
}

/// Answers at once, but for `/slow`, which it never answers.
const SERVER: &str = "require('node:http').createServer((request, response) => {
    if (request.url !== '/slow') response.end('done');
}).listen(0, '127.0.0.1');";

#[test]
fn what_agents_report_is_shown() {
    const REQUESTS: u64 = 12;
    for node in nodes() {
        let folder = Folder::new("agents");
        let path = folder.0.join("control");
        let script = folder.file("server.cjs", SERVER, 0o600);
        let mut run = cluster();
        run.args(["run", "-n", "2", "--http", "127.0.0.1:0", "--control"]).arg(&path);
        let running = Cluster::start(run.arg("--exec-path").arg(&node).arg(&script));
        let address = running.listening(2);
        let http = running.err.wait_for(1, |line| line.contains("http://"));
        let http = http[0].split("http://").nth(1).and_then(|rest| rest.split('/').next()).unwrap();
        let http = http.parse().unwrap();
        for _ in 0..REQUESTS {
            get(address).expect("it serves");
        }
        let mut slow = TcpStream::connect(address).unwrap();
        write!(slow, "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();

        // Agents report once a second.
        let reported = |ended: u64, active: u64| {
            eventually("all requests are reported", || {
                let ended = ended as f64;
                let sums = ["requests_total", "requests_in_progress"].map(|name| {
                    sum_of(&fetch(http, "/metrics"), &format!("cluster_slot_http_{name}"))
                });
                (sums == [ended, active as f64]).then_some(())
            });
        };
        reported(REQUESTS, 1);
        let metrics = fetch(http, "/metrics");
        assert!(sum_of(&metrics, "cluster_slot_heap_used_bytes") > 1e6, "{metrics}");
        assert!(sum_of(&metrics, "cluster_slot_connections_held") >= 1.0, "{metrics}");
        assert!(
            metrics
                .contains("cluster_slot_event_loop_delay_seconds{slot=\"1\",quantile=\"0.99\"} "),
            "{metrics}"
        );

        let shown = |json: &[&str]| {
            let shown = cluster().arg("status").args(json).arg("--control").arg(&path).output();
            String::from_utf8(shown.unwrap().stdout).unwrap()
        };
        let status: Value = serde_json::from_str(&shown(&["--json"])).unwrap();
        let agents: Vec<_> =
            status["workers"].as_array().unwrap().iter().map(|worker| &worker["agent"]).collect();
        let sum =
            |name: &str| -> u64 { agents.iter().map(|agent| agent[name].as_u64().unwrap()).sum() };
        assert_eq!((sum("requests"), sum("active")), (REQUESTS, 1), "{status}");
        for agent in agents {
            assert!(agent["heapUsedBytes"].as_u64() > Some(1_000_000), "{status}");
            assert!(agent["eventLoopDelayUs"]["p99"].is_u64(), "{status}");
        }
        let table = shown(&[]);
        assert!(table.contains("  REQS  ACTIVE  DELAY  "), "{table}");

        // A request whose client goes away has ended too.
        drop(slow);
        reported(REQUESTS + 1, 0);
        running.end();
    }
}

/// The sum of a metric over all its labels.
fn sum_of(metrics: &str, name: &str) -> f64 {
    use prometheus_parse::Value::{Counter, Gauge};
    let lines = metrics.lines().map(|line| Ok(line.to_owned()));
    let scrape = prometheus_parse::Scrape::parse(lines).expect("Prometheus's format");
    let samples = scrape.samples.iter().filter(|sample| sample.metric == name);
    let number = |sample: &prometheus_parse::Sample| match sample.value {
        Counter(number) | Gauge(number) => number,
        ref other => panic!("{name} is {other:?}"),
    };
    samples.map(number).sum()
}

/// The body of an answer that must be well.
fn fetch(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect(&answer);
    assert!(head.contains(" 200 "), "{answer}");
    body.to_owned()
}

#[test]
fn where_no_cluster_is_that_is_said() {
    let folder = Folder::new("no-cluster");
    let path = folder.0.join("control");
    let none = cluster().arg("status").arg("--control").arg(&path).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
    let said = String::from_utf8(none.stderr).unwrap();
    assert!(said.starts_with("cluster status: cannot connect to "), "{said}");
    assert!(said.contains("is the cluster running?"), "{said}");
    // And `top` wants a terminal.
    let mut piped = Cluster::start(cluster().arg("top").arg("--control").arg(&path));
    assert_eq!(piped.wait().code(), Some(1));
    piped.err.wait_for(1, |line| line.contains("not a terminal"));
}

/// Workers that are passed their sockets do not say where they listen.
#[test]
fn the_status_names_sockets_that_workers_are_passed() {
    let name = format!("passed-{}", std::process::id());
    let mut run = cluster();
    run.args(["run", "-n", "1", "--ready", "alive", "--name", &name, "--listen", "127.0.0.1:0"]);
    let cluster = Cluster::start(run.args(["sleep", "600"]));
    let line = cluster.err.wait_for(1, |line| line.contains("listening on 127.0.0.1:")).remove(0);
    let at = line.split("listening on ").nth(1).and_then(|at| at.split(',').next()).unwrap();
    eventually("the status has it", || {
        let status = support::cluster().args(["status", "--name", &name]).output().unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        status.contains(&format!("listening on {at}")).then_some(())
    });
    cluster.end();
}

const COLUMNS: NonZero<u16> = NonZero::new(110).unwrap();
const ROWS: NonZero<u16> = NonZero::new(30).unwrap();

/// `cluster top` on a terminal of its own.
struct Top {
    terminal: Terminal,
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Top {
    fn start(path: &Path) -> Self {
        let terminal = Terminal::new();
        terminal.resize(COLUMNS.get(), ROWS.get());
        assert!(terminal.is_cooked());
        let mut command = cluster();
        command
            .args(["top", "--interval", "0.1", "--control"])
            .arg(path)
            .env("TERM", "xterm-256color");
        terminal.give_to(&mut command);
        let child = command.spawn().unwrap();
        let parser = vt100::Parser::new(ROWS, COLUMNS, 0);
        let screen = Arc::new(Mutex::new(parser));
        thread::spawn({
            let (screen, mut from) = (screen.clone(), terminal.ours.try_clone().unwrap());
            move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = from.read(&mut bytes) {
                    screen.lock().unwrap().process(&bytes[..length]);
                }
            }
        });
        Self { terminal, child, screen }
    }

    /// Waits until that is on the screen.
    #[track_caller]
    fn shows(&self, text: &str) {
        let on_screen = || self.screen.lock().unwrap().screen().contents().contains(text);
        eventually(&format!("{text:?} is shown"), || on_screen().then_some(()));
    }

    /// Whether the screen is one of its own, apart from what was there before.
    fn is_alone(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    /// Whether nothing is wrong.
    fn is_calm(&self) -> bool {
        !self.screen.lock().unwrap().screen().contents().contains("tried again")
    }

    fn press(&mut self, keys: &str) {
        self.terminal.ours.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for its end; the terminal must be as it was.
    #[track_caller]
    fn ends(mut self) -> Option<i32> {
        let child = &mut self.child;
        let status = eventually("it ends", || child.try_wait().unwrap());
        assert!(self.terminal.is_cooked(), "the terminal is left raw");
        // What it wrote last may still be on its way.
        eventually("the screen is given back", || (!self.is_alone()).then_some(()));
        let hides_cursor = || self.screen.lock().unwrap().screen().hide_cursor();
        eventually("the cursor is seen", || (!hides_cursor()).then_some(()));
        status.code()
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Terminal {
    /// Whether it takes lines and shows what is typed, as it does for a shell.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.ours).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

#[test]
fn top_shows_a_cluster_and_keys_drive_it() {
    let folder = Folder::new("top");
    let path = folder.0.join("control");
    let stand = Stand::at(&path);
    let mut top = Top::start(&path);
    top.shows("3596");
    assert!(top.is_alone());
    top.shows("retiring");
    assert!(!top.terminal.is_cooked());
    // By the primary's clock.
    top.shows("7.0 connections/s");
    top.press("r");
    eventually("a reload is asked for", || (stand.calls("reload") == [json!({})]).then_some(()));
    top.press("+");
    eventually("one more is asked for", || {
        (stand.calls("scale") == [json!({"workers": 5})]).then_some(())
    });
    top.press("s");
    top.shows("CONN/S▾");
    top.press("q");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn top_waits_for_a_cluster_that_has_gone() {
    let folder = Folder::new("gone");
    let path = folder.0.join("control");
    let mut top = Top::start(&path);
    top.shows("cannot connect to");
    let stand = Stand::at(&path);
    top.shows("3596");
    stand.vanish();
    top.shows("tried again");
    assert!(!top.is_calm());
    let _stand = Stand::at(&path);
    eventually("it is well again", || top.is_calm().then_some(()));
    top.shows("3596");
    top.press("\x03");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn top_gives_the_terminal_back_when_it_is_told_to_end() {
    let folder = Folder::new("told");
    let path = folder.0.join("control");
    let _stand = Stand::at(&path);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let top = Top::start(&path);
        top.shows("3596");
        kill(i32::try_from(top.child.id()).unwrap(), signal);
        assert_eq!(top.ends(), Some(0), "{signal:?}");
    }
}
