//! What becomes of a cluster whose terminal is closed.
//!
//! The kernel signals the session's leader and the group in the foreground; a shell passes it on to its
//! jobs, by `kill`. A person's `kill -HUP` is another thing.

#[path = "support/pty.rs"]
mod pty;
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

use pty::Terminal;
use rustix::process::Signal;
use support::{Folder, cluster, eventually, get, is_there, kill, state};

/// A cluster on a terminal, its log in a file: the terminal's end must not take that along.
struct Session {
    folder: Folder,
    terminal: Option<Terminal>,
    child: Child,
}

impl Session {
    /// Has a shell on a new terminal run `script`, in which `$CLUSTER` is the command.
    fn start(name: &str, shell: &[&str], script: &str) -> Self {
        let folder = Folder::new(name);
        let terminal = Terminal::new();
        let like = cluster();
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(script).current_dir(&folder.0);
        for (name, value) in like.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            command.env(name, value);
        }
        let program = like.get_program().to_str().unwrap();
        command.env("CLUSTER", format!("{program} run -n 2 --demo-listen 127.0.0.1:0"));
        terminal.give_to(&mut command);
        let child = command.spawn().expect("there is a shell");
        Self { folder, terminal: Some(terminal), child }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, count: usize, what: &str) {
        let log = || format!("{what} never came, of: {}", self.log());
        let deadline = support::now() + support::PATIENCE;
        while self.log().matches(what).count() < count {
            assert!(support::now() < deadline, "{}", log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn address(&self) -> SocketAddr {
        self.wait_for(2, " listens on ");
        let log = self.log();
        let line = log.lines().find(|line| line.contains(" listens on ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().expect("an address")
    }

    /// The numbers in a file that the script writes.
    fn pid(&self) -> i32 {
        let path = self.folder.0.join("pid");
        eventually("it says its number", || read_number(&path))
    }

    fn workers(&self) -> Vec<i32> {
        let log = self.log();
        let pid = |line: &str| line.split("(pid ").nth(1)?.split(')').next()?.parse().ok();
        log.lines().filter(|line| line.ends_with("started")).filter_map(pid).collect()
    }

    /// Closes the terminal's window.
    fn close(&mut self) {
        self.terminal = None;
    }

    #[track_caller]
    fn assert_ends_gracefully(&mut self, pid: i32) {
        let workers = self.workers();
        let _ = eventually("the shell ends", || self.child.try_wait().unwrap());
        eventually("the cluster ends", || has_ended(pid).then_some(()));
        for worker in workers {
            eventually("a worker ends", || has_ended(worker).then_some(()));
        }
        let log = self.log();
        assert!(log.contains("the terminal was closed"), "{log}");
        assert_eq!(log.matches(" left (code 0)").count(), 2, "{log}");
        assert!(!log.contains("reload 1"), "{log}");
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let pids = self.workers().into_iter().chain(read_number(&self.folder.0.join("pid")));
        for pid in pids.filter(|pid| is_there(*pid)) {
            kill(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing waits for it where its parent has ended first.
fn has_ended(pid: i32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

fn read_number(path: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(path).ok()?;
    text.ends_with('\n').then(|| text.trim().parse().ok()).flatten()
}

const SH: [&str; 2] = ["sh", "-c"];

#[test]
fn the_leader_of_the_session_ends() {
    let mut session = Session::start("leader", &SH, "echo $$ > pid; exec $CLUSTER 2> log");
    get(session.address()).expect("it serves");
    let pid = session.pid();
    session.close();
    session.assert_ends_gracefully(pid);
}

#[test]
fn a_job_in_the_foreground_ends() {
    let script = "sh -c 'echo $$ > pid; exec $CLUSTER 2> log'; true";
    let mut session = Session::start("foreground", &SH, script);
    get(session.address()).expect("it serves");
    let pid = session.pid();
    session.close();
    session.assert_ends_gracefully(pid);
}

/// The kernel tells it nothing: the shell does.
#[test]
fn a_job_in_the_background_of_an_interactive_shell_ends() {
    if Command::new("bash").arg("--version").output().is_err() {
        eprintln!("no bash on PATH: not tested");
        return;
    }
    let shell = ["bash", "--norc", "--noprofile", "-i", "-c"];
    let script = "sh -c 'echo $$ > pid; exec $CLUSTER 2> log' & \
                  trap 'kill -HUP $(cat pid); exit' HUP; while :; do sleep 0.05; done";
    let mut session = Session::start("background", &shell, script);
    get(session.address()).expect("it serves");
    let pid = session.pid();
    session.close();
    session.assert_ends_gracefully(pid);
}

#[test]
fn a_persons_kill_reloads_with_a_terminal_and_without() {
    let script = "sh -c 'echo $$ > pid; exec $CLUSTER 2> log' & \
                  read -r _; kill -HUP $(cat pid); read -r _";
    let session = Session::start("person", &SH, script);
    let address = session.address();
    let pid = session.pid();
    // From the shell that leads the session, by its own builtin.
    use std::io::Write;
    let mut ours = &session.terminal.as_ref().unwrap().ours;
    ours.write_all(b"\n").unwrap();
    session.wait_for(1, "reload 1 done");
    // From elsewhere, as a service manager does it.
    kill(pid, Signal::HUP);
    session.wait_for(1, "reload 2 done");
    get(address).expect("it serves");
    kill(pid, Signal::TERM);
    eventually("it ends", || has_ended(pid).then_some(()));
}

/// … also after the program was executed again.
#[test]
fn under_nohup_it_goes_on_and_can_be_reloaded() {
    let script = "sh -c 'echo $$ > pid; exec nohup $CLUSTER > out 2> log'; true";
    let mut session = Session::start("nohup", &SH, script);
    let address = session.address();
    let pid = session.pid();
    kill(pid, Signal::USR2);
    session.wait_for(1, "upgraded to version");
    session.close();
    let _ = eventually("the shell ends", || session.child.try_wait().unwrap());
    // As long as the terminal's own is pending another is merged with it.
    eventually("it reloads", || {
        if !session.log().contains("reload 1") {
            kill(pid, Signal::HUP);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        session.log().contains("reload 1 done").then_some(())
    });
    get(address).expect("it serves");
    assert!(!session.log().contains("the terminal was closed"), "{}", session.log());
    kill(pid, Signal::TERM);
    eventually("it ends", || has_ended(pid).then_some(()));
}
