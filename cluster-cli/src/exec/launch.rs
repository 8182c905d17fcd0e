//! `cluster exec`: starts the primary, and becomes the script.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::args::{Exec, ExecOptions};
use crate::exit_status::FAILED;

/// What is preloaded into the script.
const SCRIPT: &str = include_str!("exec.cjs");

/// By which it finds the primary.
const VARIABLE: &str = "CLUSTER_EXEC";

pub(crate) fn exec(args: &Exec) -> ExitCode {
    let error = become_script(args);
    eprintln!("cluster: error: {error}");
    ExitCode::from(FAILED)
}

/// Why this process cannot become the script.
fn become_script(args: &Exec) -> io::Error {
    let node = args.options.exec_path.clone().unwrap_or_else(|| PathBuf::from("node"));
    let started = Folder::new().and_then(|folder| {
        let started = start(args, &folder);
        if started.is_err() {
            folder.remove();
        }
        started.map(|value| (folder, value))
    });
    let (folder, value) = match started {
        Ok(started) => started,
        Err(error) => {
            return io::Error::new(error.kind(), format!("cannot start the primary: {error}"));
        }
    };
    let mut command = Command::new(&node);
    command.arg("--require").arg(folder.script()).args(&args.options.exec_arg);
    let error = command.args(&args.program).env(VARIABLE, value).exec();
    // The primary ends as this process does.
    let what = format!("cannot execute {}: {error}; --exec-path names another", node.display());
    io::Error::new(error.kind(), what)
}

/// Starts the primary; what the script has to know of it.
fn start(args: &Exec, folder: &Folder) -> io::Result<OsString> {
    let program = std::env::current_exe()?;
    fs::write(folder.script(), SCRIPT)?;
    let socket = folder.socket();
    let listener = UnixListener::bind(&socket)?;
    // Workers may run as another user. The primary takes the script's children only.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty())?;
    let pid = std::process::id();
    let mut command = Command::new(&program);
    command
        .arg("exec-primary")
        .args(words(&args.options))
        .args(["--script", &pid.to_string(), "--listener", &listener.as_raw_fd().to_string()])
        .arg("--folder")
        .arg(folder.path())
        .args(args.program.first().map(|_| "--program"))
        .args(args.program.first())
        .stdin(Stdio::null())
        // Ctrl-C is for the script and its workers.
        .process_group(0)
        .spawn()
        .map(|primary| let_look(primary.id()))?;
    let mut value = OsString::from(format!("{pid}\n"));
    value.push(program);
    value.push("\n");
    value.push(socket);
    Ok(value)
}

/// Lets the primary duplicate descriptors of this process, which workers may name (`listen({fd})`): where processes may
/// look at their descendants only (Yama), a descendant has to be named.
#[allow(unsafe_code, reason = "libc has no safe prctl")]
fn let_look(primary: u32) {
    // SAFETY: it takes numbers only. On systems without Yama it fails, and is not needed.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_PTRACER, primary, 0, 0, 0);
    }
}

/// The options again, for the primary.
fn words(options: &ExecOptions) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = |name: &str, value: Option<OsString>| {
        words.extend(value.map(|value| [OsString::from(name), value]).into_iter().flatten());
    };
    word("--placement", options.placement.map(|one| one.name().into()));
    word("--policy", options.policy.map(|one| one.name().into()));
    word("--control", options.control.clone().map(Into::into));
    word("--name", options.name.as_ref().map(|name| name.to_string().into()));
    word("--log-level", options.log_level.map(|one| one.name().into()));
    words
}

/// A folder with the preloaded file and the primary's socket. The primary removes it at its end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("cluster-exec-{}", std::process::id()));
        // A killed process of this number may have left it.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path)?;
        // Others may pass through it, and see nothing.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o711))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn script(&self) -> PathBuf {
        self.0.join("exec.cjs")
    }

    fn socket(&self) -> PathBuf {
        self.0.join("primary.sock")
    }

    fn remove(&self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
