//! `cluster exec`: starts the primary, and becomes the script.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::args::{Exec, ExecAttach, ExecOptions};
use crate::config::Period;
use crate::exit_status::FAILED;
use crate::place;

/// What is preloaded into the script.
const SCRIPT: &str = include_str!("exec.cjs");

/// By which it finds the primary.
const VARIABLE: &str = "CLUSTER_EXEC";

pub(crate) fn exec(args: &Exec) -> ExitCode {
    let done = if args.preload { preload(&args.options) } else { Err(become_script(args)) };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

/// Starts the primary of a process that has preloaded the file by itself, and prints its socket's path.
pub(crate) fn attach(args: &ExecAttach) -> ExitCode {
    let Launched { folder, .. } = match launch(&args.options, args.script, Some(&args.program)) {
        Ok(launched) => launched,
        Err(error) => return failed(&error),
    };
    print!("{}", folder.socket().display());
    ExitCode::SUCCESS
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("cluster: error: {error}");
    ExitCode::from(FAILED)
}

/// Writes the file to preload, and prints its path.
fn preload(options: &ExecOptions) -> io::Result<()> {
    let text = |value: &OsString| serde_json::Value::from(value.to_string_lossy());
    let program = serde_json::Value::from(std::env::current_exe()?.to_string_lossy());
    let words: Vec<_> = words(options).iter().map(text).collect();
    let script =
        SCRIPT.replace("const PROGRAM = null;", &format!("const PROGRAM = {program};")).replace(
            "const OPTIONS = [];",
            &format!("const OPTIONS = {};", serde_json::Value::from(words)),
        );
    let mut hasher = DefaultHasher::new();
    script.hash(&mut hasher);
    let file = place::make_folder()?.join(format!("exec-{:016x}.cjs", hasher.finish()));
    fs::write(&file, script)?;
    println!("{}", file.display());
    Ok(())
}

/// Why this process cannot become the script.
fn become_script(args: &Exec) -> io::Error {
    let node = args.options.exec_path.clone().unwrap_or_else(|| PathBuf::from("node"));
    let pid = std::process::id();
    let program = args.program.first().map(Path::new);
    let Launched { folder, primary } = match launch(&args.options, pid, program) {
        Ok(launched) => launched,
        Err(error) => return error,
    };
    #[cfg(target_os = "linux")]
    let_look(primary);
    #[cfg(not(target_os = "linux"))]
    let _ = primary;
    let mut value = OsString::from(format!("{pid}\n"));
    value.push(std::env::current_exe().unwrap_or_default());
    value.push("\n");
    value.push(folder.socket());
    let mut command = Command::new(&node);
    command.arg("--require").arg(folder.script()).args(&args.options.exec_arg);
    let error = command.args(&args.program).env(VARIABLE, value).exec();
    // The primary ends as this process does.
    let what = format!("cannot execute {}: {error}; --exec-path names another", node.display());
    io::Error::new(error.kind(), what)
}

/// A primary that was started.
struct Launched {
    folder: Folder,
    primary: u32,
}

/// Starts the primary of that process.
fn launch(options: &ExecOptions, script: u32, program: Option<&Path>) -> io::Result<Launched> {
    if cfg!(not(target_os = "linux")) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "cluster exec needs Linux"));
    }
    let launched = Folder::new(script).and_then(|folder| {
        let started = start(options, script, program, &folder);
        if started.is_err() {
            folder.remove();
        }
        started.map(|primary| Launched { folder, primary })
    });
    launched
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start the primary: {error}")))
}

fn start(
    options: &ExecOptions,
    script: u32,
    program: Option<&Path>,
    folder: &Folder,
) -> io::Result<u32> {
    fs::write(folder.script(), SCRIPT)?;
    let socket = folder.socket();
    let listener = UnixListener::bind(&socket)?;
    // Workers may run as another user. The primary takes the script's children only.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("exec-primary")
        .args(words(options))
        .args(["--script", &script.to_string(), "--listener", &listener.as_raw_fd().to_string()])
        .arg("--folder")
        .arg(folder.path())
        .args(program.map(|_| "--program"))
        .args(program)
        .stdin(Stdio::null())
        // What is printed is the program's.
        .stdout(Stdio::null())
        // Ctrl-C is for the script and its workers.
        .process_group(0);
    Ok(command.spawn()?.id())
}

/// Lets the primary duplicate descriptors of this process, which workers may name (`listen({fd})`): where processes may
/// look at their descendants only (Yama), a descendant has to be named.
#[allow(unsafe_code, reason = "libc has no safe prctl")]
#[cfg(target_os = "linux")]
fn let_look(primary: u32) {
    // SAFETY: it takes numbers only. On systems without Yama it fails, and is not needed.
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
    let millis = |period: Period<0>| format!("{}ms", period.0.as_millis()).into();
    word("--hang-after", options.hang_after.map(millis));
    word("--control", options.control.clone().map(Into::into));
    word("--name", options.name.as_ref().map(|name| name.to_string().into()));
    word("--record", options.record.clone().map(Into::into));
    word("--log-level", options.log_level.map(|one| one.name().into()));
    words
}

/// Names that are tried before a folder is given up.
const NAMES: u32 = 16;

/// A folder with the preloaded file and the primary's socket. The primary removes it at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(script: u32) -> io::Result<Self> {
        let parent = std::env::temp_dir();
        let mut number = 0;
        loop {
            let path = match number {
                0 => parent.join(format!("cluster-exec-{script}")),
                number => parent.join(format!("cluster-exec-{script}-{number}")),
            };
            // A killed process of this number may have left it. Another user's stays.
            let _ = fs::remove_dir_all(&path);
            // Others may pass through it, and see nothing.
            match fs::DirBuilder::new().mode(0o711).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < NAMES => {
                    number += 1;
                }
                Err(error) => return Err(error),
            }
        }
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
