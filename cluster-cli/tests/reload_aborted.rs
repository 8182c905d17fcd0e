//! A new version that listens and dies shortly after: the reload is aborted, and is known to be.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::{Cluster, Folder, cluster, eventually, get, get_path, is_there, nodes};

/// Answers with its version, its slot and its process id. Where the folder says so, a worker of version
/// 2 dies, hangs or breaks its channel and hangs shortly after it listens, or listens only once it may, or
/// dies when it is to.
const PROGRAM: &str = r"
const { existsSync, readFileSync } = require('node:fs');
const at = (name) => `${__dirname}/${name}`;
const slot = process.env.CLUSTER_SLOT;
const version = readFileSync(at('version'), 'utf8');
const server = require('node:http').createServer((_, response) => {
  response.end(`version ${version} slot ${slot} pid ${process.pid}`);
});
const wait = (name, then) => {
  const timer = setInterval(() => existsSync(at(name)) && (clearInterval(timer), then()), 10);
  return timer;
};
const listen = () => server.listen(Number(process.env.PORT ?? 0), () => {
  if (version !== '2') return;
  if (existsSync(at('dies'))) setTimeout(() => process.exit(9), 300).unref();
  wait(`die-${slot}`, () => process.exit(7)).unref();
  const hang = () => { for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1e6); };
  if (existsSync(at('hangs'))) setTimeout(hang, 300);
  if (existsSync(at('babbles'))) setTimeout(() => {
    require('node:fs').writeSync(process.channel.fd, 'This is no message.\n');
    hang();
  }, 300);
});
if (version === '2' && existsSync(at(`hold-${slot}`))) wait(`go-${slot}`, listen);
else listen();
";

struct Stand {
    cluster: Cluster,
    folder: Folder,
    name: String,
}

impl Stand {
    fn start(node: &Path, what: &str, options: &[&str], workers: usize) -> Self {
        let folder = Folder::new(what);
        let script = folder.file("app.cjs", PROGRAM, 0o644);
        folder.file("version", "1", 0o644);
        let name = format!("{what}-{}", std::process::id());
        let mut run = cluster();
        run.args(["run", "--name", &name, "-n", &workers.to_string()]).args(options);
        run.arg("--exec-path").arg(node).arg(script);
        let cluster = Cluster::start(&mut run);
        cluster.listening(workers);
        Self { cluster, folder, name }
    }

    fn touch(&self, file: &str, text: &str) -> PathBuf {
        self.folder.file(file, text, 0o644)
    }

    fn command(&self, verb: &[&str]) -> Command {
        let mut command = cluster();
        command.args(verb).args(["--name", &self.name]);
        command
    }

    fn run(&self, verb: &[&str]) -> Output {
        self.command(verb).output().expect("it runs")
    }

    fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.run(&["status", "--json"]).stdout).expect("it is JSON")
    }
}

fn all_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn a_version_that_dies_shortly_after_it_listens_replaces_no_worker() {
    for node in nodes() {
        for workers in [1, 2] {
            let options = ["--http", "0"];
            let stand = Stand::start(&node, "dies-soon", &options, workers);
            let address = stand.cluster.listening(workers);
            let old = stand.cluster.worker_pids();
            stand.touch("version", "2");
            stand.touch("dies", "");
            let reload = stand.run(&["reload"]);
            let said = all_of(&reload);
            assert_eq!(reload.status.code(), Some(1), "{said}");
            let why =
                "the replacement worker for slot 0 failed: it died (code 9) after it was ready.";
            assert!(said.contains(why) && said.contains("ERR_RELOAD_ABORTED"), "{said}");
            let stays = if workers == 1 { "1 old worker stays" } else { "2 old workers stay" };
            assert!(said.contains(&format!("{stays}; 0 workers replaced before that")), "{said}");
            stand.cluster.err.wait_for(1, |line| {
                line.contains("reload 1 was aborted") && line.contains(why) && line.contains(stays)
            });

            let status = stand.status();
            let failure =
                "the replacement worker for slot 0 failed: it died (code 9) after it was ready";
            assert_eq!(status["reloadFailure"]["reason"], failure, "{status}");
            assert_eq!((&status["generation"], &status["state"]), (&0.into(), &"running".into()));
            let http = stand.cluster.err.wait_for(1, |line| line.contains("http://")).remove(0);
            let http = http.split("http://").nth(1).and_then(|rest| rest.split('/').next());
            let metrics = get_path(http.unwrap().parse().unwrap(), "/metrics").unwrap();
            assert!(metrics.contains("\ncluster_last_reload_successful 0\n"), "{metrics}");
            assert!(metrics.contains("\ncluster_reloads_failed_total 1\n"), "{metrics}");

            // The old workers are all there, and nothing flaps: one new worker was tried.
            assert!(old.iter().all(|&pid| is_there(pid)));
            for _ in 0..workers {
                assert!(get(address).unwrap().starts_with("version 1 "));
            }
            assert_eq!(stand.cluster.worker_pids().len(), workers + 1);

            std::fs::remove_file(stand.folder.0.join("dies")).unwrap();
            let reload = stand.run(&["reload"]);
            assert!(reload.status.success(), "{}", all_of(&reload));
            assert!(get(address).unwrap().starts_with("version 2 "));
            stand.cluster.end();
        }
    }
}

#[test]
fn a_new_worker_that_dies_after_it_replaced_the_old_one_ends_the_reload() {
    for node in nodes() {
        let options = ["--min-ready-time", "10ms"];
        let stand = Stand::start(&node, "dies-later", &options, 3);
        let old = stand.cluster.worker_pids();
        stand.touch("version", "2");
        stand.touch("hold-1", "");
        let mut reload = stand.command(&["reload"]);
        let reload = reload.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Slot 0 has its new worker, and the one of slot 1 does not listen yet.
        eventually("the old worker of slot 0 leaves", || (!is_there(old[0])).then_some(()));
        eventually("slot 1 is next", || (stand.cluster.worker_pids().len() == 5).then_some(()));
        stand.touch("die-0", "");
        let reload = reload.wait_with_output().unwrap();
        let said = all_of(&reload);
        assert_eq!(reload.status.code(), Some(1), "{said}");
        let why = "the replacement worker for slot 0 failed: it died (code 7) after it was ready.";
        assert!(said.contains(why), "{said}");
        assert!(said.contains("2 old workers stay; 1 worker replaced before that"), "{said}");
        std::fs::remove_file(stand.folder.0.join("die-0")).unwrap();

        // The others are as they were. The slot that had been replaced is restarted, from what is there.
        assert!(is_there(old[1]) && is_there(old[2]));
        let slot = eventually("slot 0 has a worker again", || {
            let status = stand.status();
            let workers = status["workers"].as_array()?.clone();
            let ready = workers.iter().filter(|worker| worker["state"] == "ready").count();
            (ready == 3 && workers.len() == 3).then(|| workers[0].clone())
        });
        assert_eq!(slot["slot"], 0);
        let address = stand.cluster.listening(3);
        let answer = eventually("it answers", || {
            get(address).ok().filter(|answer| answer.contains("slot 0"))
        });
        assert!(answer.starts_with("version 2 "), "{answer}");
        stand.touch("go-1", "");
        let reload = stand.run(&["reload"]);
        assert!(reload.status.success(), "{}", all_of(&reload));
        stand.cluster.end();
    }
}

/// Processes that live, but serve no more. With that time the old worker would never leave by itself.
#[test]
fn a_version_that_hangs_or_loses_its_channel_replaces_no_worker() {
    for node in nodes() {
        for (how, reason) in [("hangs", "it stopped answering"), ("babbles", "it lost its channel")]
        {
            let hang_after = if how == "hangs" { "500ms" } else { "0" };
            let options =
                ["--min-ready-time", "10m", "--hang-after", hang_after, "--kill-after", "100ms"];
            let stand = Stand::start(&node, how, &options, 2);
            let old = stand.cluster.worker_pids();
            stand.touch("version", "2");
            stand.touch(how, "");
            let reload = stand.run(&["reload"]);
            let said = all_of(&reload);
            assert_eq!(reload.status.code(), Some(1), "{said}");
            let why =
                format!("the replacement worker for slot 0 failed: {reason} after it was ready.");
            assert!(said.contains(&why), "{said}");
            assert!(said.contains("2 old workers stay; 0 workers replaced before that"), "{said}");
            let new = *stand.cluster.worker_pids().last().unwrap();
            eventually("the new worker has been ended", || (!is_there(new)).then_some(()));
            assert!(old.iter().all(|&pid| is_there(pid)));
            let status = stand.status();
            assert_eq!(status["workers"].as_array().map(Vec::len), Some(2), "{status}");
            assert_eq!((&status["generation"], &status["state"]), (&0.into(), &"running".into()));
            assert!(get(stand.cluster.listening(2)).unwrap().starts_with("version 1 "));
            stand.cluster.end();
        }
    }
}

/// What leaves because it was told to does not count.
#[test]
fn workers_that_leave_on_request_do_not_end_the_reload() {
    for node in nodes() {
        let options = ["--min-ready-time", "10ms"];
        let stand = Stand::start(&node, "leaves", &options, 3);
        let old = stand.cluster.worker_pids();
        stand.touch("version", "2");
        stand.touch("hold-1", "");
        let mut reload = stand.command(&["reload"]);
        let reload = reload.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("the old worker of slot 0 leaves", || (!is_there(old[0])).then_some(()));
        eventually("slot 1 is next", || (stand.cluster.worker_pids().len() == 5).then_some(()));
        let pid = stand.cluster.worker_pids()[3];
        let status = stand.status();
        let workers = status["workers"].as_array().unwrap();
        let id = workers.iter().find(|worker| worker["pid"] == pid).expect("it is there")["worker"]
            .clone();
        let mut disconnect = cluster();
        disconnect.args(["ctl", "--name", &stand.name, "disconnect", &id.to_string()]);
        let said = all_of(&disconnect.output().expect("it runs"));
        eventually(&said, || (!is_there(pid)).then_some(()));
        assert!(stand.run(&["scale", "2"]).status.success());
        stand.touch("go-1", "");
        let reload = reload.wait_with_output().unwrap();
        assert!(reload.status.success(), "{}", all_of(&reload));
        stand.cluster.end();
    }
}
