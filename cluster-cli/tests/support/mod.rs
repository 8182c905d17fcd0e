//! Runs `cluster` for real, and looks at it from outside.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// So long a condition may take before the test fails; nothing waits for it to pass.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "tests give up by the clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for a condition on the outside world.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a program has printed so far.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<Vec<String>>, Condvar)>, Arc<AtomicBool>);

impl Lines {
    pub fn collect(&self, from: impl Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                lines.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                lines.0.1.notify_all();
            }
            lines.1.store(true, Ordering::Release);
        });
    }

    /// Whether nothing more will come.
    pub fn have_ended(&self) -> bool {
        self.1.load(Ordering::Acquire)
    }

    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many lines fit, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize, fits: impl Fn(&str) -> bool) -> Vec<String> {
        let deadline = now() + PATIENCE;
        let mut lines = self.0.0.lock().unwrap();
        loop {
            let found: Vec<_> = lines.iter().filter(|l| fits(l)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(now());
            assert!(!left.is_zero(), "{count} such lines never came; there are {lines:#?}");
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A `cluster run` that is under way.
pub struct Cluster {
    pub child: Child,
    pub out: Lines,
    pub err: Lines,
}

/// The program, to be given arguments.
pub fn cluster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cluster"));
    for name in ["NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CLUSTER_SCHED_POLICY"] {
        command.env_remove(name);
    }
    // Sockets by which `cluster ctl` finds a cluster do not mix with those of the user that runs the tests.
    command.env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// An empty folder of this test alone, which is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let ours = format!("cluster-cli-{}-{count}-{name}", std::process::id());
        let path = std::env::temp_dir().join(ours);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// A file in it, with that text and that mode.
    pub fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Cluster {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (out, err) = (Lines::default(), Lines::default());
        out.collect(child.stdout.take().expect("it is a pipe"));
        err.collect(child.stderr.take().expect("it is a pipe"));
        Self { child, out, err }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id fits")
    }

    /// Where the workers listen, once `count` of them do.
    #[track_caller]
    pub fn listening(&self, count: usize) -> SocketAddr {
        let lines = self.err.wait_for(count, |l| l.contains(" listens on "));
        let address = lines[0].rsplit(' ').next().expect("it ends so").replace('*', "127.0.0.1");
        address.parse().unwrap_or_else(|e| panic!("{address:?} is no address: {e}"))
    }

    /// The process ids of the workers that were started, in their order.
    pub fn worker_pids(&self) -> Vec<i32> {
        let started = |l: &String| l.contains("(pid ") && l.ends_with("started");
        let pid = |l: &String| l.split("(pid ").nth(1)?.split(')').next()?.parse().ok();
        self.err.all().iter().filter(|l| started(l)).filter_map(pid).collect()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits for its end, and until all that it has printed is there. (Where a process that it has
    /// left behind holds its output open, the latter for a moment only.)
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let status = eventually("the program ends", || child.try_wait().expect("it is our child"));
        let deadline = now() + Duration::from_secs(2);
        while !(self.out.have_ended() && self.err.have_ended()) && now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        status
    }

    /// Asks it to end, and insists that it does so gracefully and leaves no process behind.
    #[track_caller]
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{:#?}", self.err.all());
        // All lines are there now; before, those of the last workers may not have been read yet.
        assert_gone(&self.worker_pids());
    }

    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("it has a size");
        line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("it is a number")
    }

    /// Lets the primary have that many more descriptors than it has now, and no more.
    #[cfg(target_os = "linux")]
    pub fn leave_descriptors(&self, more: usize) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let limit = u64::try_from(self.descriptors() + more).ok();
        let limit = Rlimit { current: limit, maximum: limit };
        prlimit(Pid::from_raw(self.pid()), Resource::Nofile, limit).expect("it is our child");
    }

    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }
}

/// Whatever the test found: nothing stays behind.
impl Drop for Cluster {
    fn drop(&mut self) {
        let workers = self.worker_pids();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in workers {
            if is_there(pid) {
                kill(pid, Signal::KILL);
            }
        }
    }
}

pub fn kill(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).expect("it is a process id"), signal);
}

pub fn is_there(pid: i32) -> bool {
    test_kill_process(Pid::from_raw(pid).expect("it is a process id")).is_ok()
}

/// The state of a process as `proc(5)` has it: `R`, `S`, `T`, …
pub fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

#[track_caller]
pub fn assert_gone(pids: &[i32]) {
    assert!(!pids.is_empty(), "there were no workers");
    for &pid in pids {
        eventually("a worker is gone", || (!is_there(pid)).then_some(()));
    }
}

/// One request on a connection of its own; the body of the answer.
pub fn get(address: SocketAddr) -> std::io::Result<String> {
    ask(TcpStream::connect(address)?)
}

/// As [`get`], from a given local address.
pub fn get_from(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<String> {
    let socket = net::socket(net::AddressFamily::INET, net::SocketType::STREAM, None)?;
    net::bind(&socket, &SocketAddr::from((source, 0)))?;
    net::connect(&socket, &address)?;
    ask(socket.into())
}

/// As [`get`], of something else than `/`.
pub fn get_path(address: SocketAddr, path: &str) -> std::io::Result<String> {
    ask_for(TcpStream::connect(address)?, path)
}

/// One request on that connection; the body of the answer.
pub fn ask(connection: TcpStream) -> std::io::Result<String> {
    ask_for(connection, "/")
}

fn ask_for(mut connection: TcpStream, path: &str) -> std::io::Result<String> {
    connection.set_read_timeout(Some(PATIENCE))?;
    // In one piece: a server that answers the first one may have closed the connection before the next.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.get(..13).is_some_and(is_good) => Ok(body.to_owned()),
        _ => Err(std::io::Error::other(format!("no good answer: {answer:?}"))),
    }
}

/// Some answer by the version that they were asked in.
fn is_good(head: &str) -> bool {
    ["HTTP/1.0 200 ", "HTTP/1.1 200 "].contains(&head)
}

/// Every Node.js to be tested with: those that `CLUSTER_TEST_NODES` names (separated as `PATH`
/// is), else the one on `PATH`.
pub fn nodes() -> Vec<PathBuf> {
    if let Some(nodes) = std::env::var_os("CLUSTER_TEST_NODES") {
        return std::env::split_paths(&nodes).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("node")).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("no node on PATH: what needs one is not tested");
    }
    found.into_iter().collect()
}

/// Whether the long form of a test is wanted: `cargo xtask soak` wants it.
pub fn soaks() -> bool {
    std::env::var_os("CLUSTER_SOAK").is_some()
}

/// An example of another package, built beside this test.
pub fn example(package: &str, name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_cluster")).with_file_name("examples").join(name);
    build(&["--package", package, "--example", name], program)
}

/// The program that another package is, built beside this test.
pub fn program(package: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_cluster")).with_file_name(package);
    build(&["--package", package], program)
}

/// Builds it, unless `cargo xtask ci`, which has built everything, says so.
fn build(what: &[&str], program: PathBuf) -> PathBuf {
    if std::env::var_os("CLUSTER_TEST_BUILT").is_some() {
        assert!(program.is_file(), "{} is not built", program.display());
        return program;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet"]).args(what);
    if program.components().any(|part| part.as_os_str() == "release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("cargo runs").success(), "{} builds", program.display());
    program
}

/// A file of the repository.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).canonicalize().expect(name)
}

/// What has an old worker leave as soon as the new one is ready, unless the options say when: so tests of
/// other things are not made longer.
pub fn no_trial(options: &[&str]) -> &'static [&'static str] {
    match options.contains(&"--min-ready-time") {
        true => &[],
        false => &["--min-ready-time", "0"],
    }
}

/// `cluster run`, of a script under that Node.js, its port 8000 replaced by one that is free.
pub fn run_script(node: &Path, script: &Path, options: &[&str]) -> Command {
    let mut command = cluster();
    command.arg("run").args(options).args(no_trial(options)).arg("--exec-path").arg(node);
    command.arg("--exec-arg=--require").arg("--exec-arg").arg(file("testdata/js/free-port.cjs"));
    command.arg(script);
    command
}

pub fn signal_of(status: ExitStatus) -> Option<i32> {
    status.signal()
}
