//! Programs that know nothing of clusters are passed listening sockets by systemd's protocol, and
//! serve side by side from the same one.

#[allow(dead_code, reason = "it is `cluster run`'s")]
#[path = "../src/listen/mod.rs"]
mod listen;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cluster_primary::{
    Event, ExitStatus, Primary, Settings, Signal as Sent, SocketAccess, Stdio, WorkerId,
};
use listen::Sockets;
use rustix::process::{Pid, Signal, kill_process_group};
use support::{Folder, PATIENCE, eventually, kill, now, state};

/// The protocol, as a program's author reads it: no module that does it is needed.
const SERVER: &str = r#"
import http.server, os, socket, sys

names = os.environ["LISTEN_FDNAMES"].split(":")
count = int(os.environ["LISTEN_FDS"])
assert os.environ["LISTEN_PID"] == str(os.getpid()), "it is meant for this process"
assert count == len(names)
at = 3 + names.index(sys.argv[1])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.getpid()} {' '.join(names)} {os.environ['CLUSTER_SLOT']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
    def address_string(self):
        return "another process"

server = http.server.HTTPServer(("", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=at)
print("serves", flush=True)
server.serve_forever()
"#;

/// A primary whose workers are killed at the end, whatever happens.
struct Cluster {
    primary: Primary,
    sockets: Sockets,
}

impl Cluster {
    fn new(mut settings: Settings, listen: &[&str]) -> Self {
        let wanted: Vec<_> = listen.iter().map(|text| text.parse().expect("an address")).collect();
        let sockets = Sockets::open(&wanted, &SocketAccess::default()).expect("they can be opened");
        sockets.give(&mut settings, Path::new(env!("CARGO_BIN_EXE_cluster")));
        Self { primary: Primary::new(settings).expect("a poll"), sockets }
    }

    #[track_caller]
    fn until<T>(&mut self, what: &str, wanted: impl Fn(Event) -> Option<T>) -> T {
        let deadline = now() + PATIENCE;
        loop {
            let event = self.primary.next_event_within(Duration::from_millis(20)).expect("a poll");
            if let Some(found) = event.event().and_then(&wanted) {
                return found;
            }
            assert!(now() < deadline, "never happened: {what}");
        }
    }

    /// Forks a worker that says when it serves; its process.
    fn fork(&mut self) -> i32 {
        let forked = self.primary.fork().expect("the program is there");
        self.until("it serves", |event| match event {
            Event::Stdio { worker, fd: 1, data } if worker == forked => Some(data),
            _ => None,
        });
        self.pid(forked)
    }

    /// Asks all to leave, by the signal that programs know, and waits for that.
    fn end(mut self) {
        for worker in self.primary.workers() {
            self.primary.kill(worker, Sent::TERM).expect("it is ours");
        }
        for _ in self.primary.workers() {
            let exit = |event| matches!(event, Event::Exit { .. }).then_some(());
            self.until("all have left", exit);
        }
    }

    fn pid(&self, worker: WorkerId) -> i32 {
        let state = self.primary.worker_state(worker).expect("it is there");
        i32::try_from(state.pid).expect("it fits")
    }

    fn tcp(&self) -> SocketAddr {
        let mut found = self.sockets.iter().filter_map(|socket| socket.at.parse().ok());
        found.next().expect("one is TCP")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for worker in self.primary.all_workers() {
            // And whom it has started.
            let state =
                self.primary.worker_state(worker).and_then(|state| state.pid.try_into().ok());
            if let Some(group) = state.and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        while self.primary.next_event().is_ok_and(|event| event.is_some()) {}
    }
}

fn server(name: &str) -> Settings {
    Settings::new("python3").args(["-c", SERVER, name]).silent(true)
}

fn ask(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    body.to_owned()
}

/// While that process is stopped.
fn without<T>(pid: i32, then: impl FnOnce() -> T) -> T {
    kill(pid, Signal::STOP);
    eventually("it is stopped", || (state(pid) == Some('T')).then_some(()));
    let result = then();
    kill(pid, Signal::CONT);
    result
}

fn link(pid: i32, fd: i32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).expect("it is open")
}

#[test]
fn two_workers_serve_from_the_same_socket() {
    let mut cluster = Cluster::new(server("web"), &["web=127.0.0.1:0", "127.0.0.1:0"]);
    let (one, two) = (cluster.fork(), cluster.fork());
    let address = cluster.tcp();
    let ask = || ask(TcpStream::connect(address).expect("it listens"));
    assert_eq!(without(two, ask), format!("{one} web unknown 0"));
    assert_eq!(without(one, ask), format!("{two} web unknown 1"));
    assert_eq!(link(one, 3), link(two, 3));
    assert_eq!(link(one, 4), link(two, 4));
    assert_ne!(link(one, 3), link(one, 4));

    // It stays open however few workers serve it: clients wait meanwhile.
    for worker in cluster.primary.workers() {
        cluster.primary.kill(worker, Sent::KILL).expect("it is ours");
    }
    let waiting = TcpStream::connect(address).expect("it listens");
    let three = cluster.fork();
    let said = self::ask(waiting);
    assert!(said.starts_with(&format!("{three} ")), "{said}");
}

#[test]
fn a_path_is_served_too_and_is_gone_at_the_end() {
    let folder = Folder::new("listen");
    let path = folder.0.join("socket");
    let mut cluster = Cluster::new(server("app"), &[&format!("app=unix:{}", path.display())]);
    let (one, two) = (cluster.fork(), cluster.fork());
    let ask = || ask(UnixStream::connect(&path).expect("it listens"));
    assert_eq!(without(two, ask), format!("{one} app 0"));
    assert_eq!(without(one, ask), format!("{two} app 1"));
    drop(cluster);
    assert!(!path.exists());
}

#[test]
fn the_channel_comes_after_the_sockets() {
    let shell = Settings::new("sh").args(["-c", "echo $NODE_CHANNEL_FD $LISTEN_PID $$"]);
    let mut cluster = Cluster::new(shell.silent(true), &["127.0.0.1:0", "127.0.0.1:0"]);
    cluster.primary.fork().expect("there is a shell");
    let said = cluster.until("it says", |event| match event {
        Event::Stdio { data, .. } => String::from_utf8(data).ok(),
        _ => None,
    });
    let words: Vec<_> = said.split_whitespace().collect();
    assert_eq!(words[0], "5");
    assert_eq!(words[1], words[2], "it is the worker's own number");
}

#[test]
fn a_program_that_is_not_there_is_said_at_once() {
    let mut cluster = Cluster::new(Settings::new("/no/such/program"), &["127.0.0.1:0"]);
    let error = cluster.primary.fork().expect_err("it is not there").to_string();
    assert!(error.contains("cannot execute /no/such/program: No such file"), "{error}");
}

#[test]
fn a_program_that_cannot_be_executed_after_all_is_said_on_its_output() {
    let folder = Folder::new("odd");
    // It is there, but no program: that only the system finds out.
    let odd = folder.file("odd", "#!/\n", 0o755);
    let settings = Settings::new(&odd).silent(true);
    let mut cluster = Cluster::new(settings, &["127.0.0.1:0"]);
    cluster.primary.fork().expect("the shim is there");
    let said = cluster.until("it says", |event| match event {
        Event::Stdio { fd: 2, data, .. } => String::from_utf8(data).ok(),
        _ => None,
    });
    assert!(said.contains(&format!("cannot execute {}", odd.display())), "{said}");
    let status = cluster.until("it exits", |event| match event {
        Event::Exit { status, .. } => Some(status),
        _ => None,
    });
    assert_eq!(status, ExitStatus::Code(126));
}

/// What systemd passed to the primary it passes on, by name or number.
#[test]
fn sockets_of_systemds_are_passed_on() {
    const INNER: &str = "CLUSTER_TEST_PASSED";
    if let Some(address) = std::env::var_os(INNER) {
        let address: SocketAddr = address.to_str().and_then(|a| a.parse().ok()).expect("where");
        let mut cluster = Cluster::new(server("other"), &["fd:web", "other=fd:4", "127.0.0.1:0"]);
        assert!(
            Sockets::open(&["fd:web".parse().unwrap()], &SocketAccess::default()).is_err(),
            "it is taken"
        );
        let pid = cluster.fork();
        let said = ask(TcpStream::connect(address).expect("it listens"));
        assert_eq!(said, format!("{pid} web other unknown 0"));
        return;
    }
    // This program again, as systemd would start it: by our own hand.
    let passed = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = passed[1].local_addr().expect("it is bound").to_string();
    let mut settings = Settings::new(std::env::current_exe().expect("it has a path"))
        .args(["--exact", "sockets_of_systemds_are_passed_on", "--nocapture"])
        .env(INNER, &address)
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", "web:unknown")
        .silent(true);
    let [web, other] = passed.map(|listener| Stdio::Fd(Arc::new(listener.into())));
    settings.stdio = Some(vec![Stdio::Ignore, Stdio::Pipe, Stdio::Pipe, web, other, Stdio::Ipc]);
    settings.launcher =
        [env!("CARGO_BIN_EXE_cluster"), listen::shim::VERB, "--"].map(Into::into).into();
    let mut primary = Primary::new(settings).expect("a poll");
    primary.fork().expect("it is this program");
    let mut said = Vec::new();
    while let Some(event) = primary.next_event().expect("a poll") {
        match event {
            Event::Stdio { data, .. } => said.extend(data),
            Event::Exit { status, .. } => {
                let said = String::from_utf8_lossy(&said);
                assert_eq!(status, ExitStatus::Code(0), "{said}");
                assert!(said.contains("1 passed"), "{said}");
            }
            _ => {}
        }
    }
}

/// Whether a program is there that these tests can do without.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        println!("skipped: no {program} on PATH");
    }
    found
}

/// The worker that such a program has of its own, which accepts.
fn child_of(master: i32) -> i32 {
    eventually("it has a worker", || {
        let list = std::fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        list.ok()?.split_whitespace().next()?.parse().ok()
    })
}

#[test]
fn gunicorn_serves_from_it() {
    if !has("gunicorn") {
        return;
    }
    let folder = Folder::new("gunicorn");
    let app = "import os\ndef app(environ, start):\n    start('200 OK', [])\n    \
               return [str(os.getppid()).encode()]\n";
    std::fs::write(folder.0.join("app.py"), app).expect("a file");
    let mut settings = Settings::new("gunicorn").args(["--workers", "1", "app:app"]);
    settings.cwd = Some(folder.0.clone());
    let mut cluster = Cluster::new(settings.silent(true), &["127.0.0.1:0"]);
    let address = cluster.tcp();
    let masters = [cluster.primary.fork(), cluster.primary.fork()];
    let masters = masters.map(|worker| cluster.pid(worker.expect("it is there")));
    let children = masters.map(child_of);
    let ask = || ask(TcpStream::connect(address).expect("it listens"));
    assert_eq!(without(children[1], ask), masters[0].to_string());
    assert_eq!(without(children[0], ask), masters[1].to_string());
    cluster.end();
}

#[test]
fn nginx_serves_from_it() {
    if !has("nginx") {
        return;
    }
    let folder = Folder::new("nginx");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it is bound");
    drop(taken);
    // It takes sockets by a variable of its own, and wants their addresses in its configuration.
    let config = folder.0.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 1; pid {dir}/pid; error_log stderr; events {{}}\n\
         http {{ access_log off; server {{ listen {address}; location / {{ return 200 $pid; }} }} }}",
        dir = folder.0.display()
    );
    std::fs::write(&config, text).expect("a file");
    let config = config.display().to_string();
    let settings = Settings::new("nginx")
        .args(["-p", &folder.0.display().to_string(), "-c", &config])
        .env("NGINX", "3;")
        .silent(true);
    let mut cluster = Cluster::new(settings, &[&address.to_string()]);
    let workers = [cluster.primary.fork(), cluster.primary.fork()];
    let masters = workers.map(|worker| cluster.pid(worker.expect("it is there")));
    let children = masters.map(child_of);
    let ask = || ask(TcpStream::connect(address).expect("it listens"));
    assert_eq!(without(children[1], ask), children[0].to_string());
    assert_eq!(without(children[0], ask), children[1].to_string());
    cluster.end();
}

#[test]
fn the_shim_wants_a_program() {
    let mut shim = Command::new(env!("CARGO_BIN_EXE_cluster"));
    let output = shim.arg(listen::shim::VERB).output().expect("it is built");
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a program follows it"));
}
