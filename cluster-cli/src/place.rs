//! Where control sockets are.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::io::Errno;

/// The user's folder of control sockets: under `$XDG_RUNTIME_DIR`, else under the system's temporary
/// folder by the user's number.
pub(crate) fn folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("cluster"),
        None => std::env::temp_dir().join(format!("cluster-{}", user())),
    }
}

/// What can be done about it.
const ELSEWHERE: &str =
    "; set XDG_RUNTIME_DIR to another folder, or choose the path of the socket with --control PATH";

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The folder, created if needed: with mode 0700, and owned by this user.
pub(crate) fn make_folder() -> io::Result<PathBuf> {
    let folder = folder();
    match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let what = format!("cannot create the folder {}: {error}{ELSEWHERE}", folder.display());
            return Err(io::Error::new(error.kind(), what));
        }
        _ => {}
    }
    our_folder()
}

/// The folder, if no other user owns it: another user may have created it first, to listen to what is said
/// to our clusters. One that does not exist has no owner.
pub(crate) fn our_folder() -> io::Result<PathBuf> {
    let folder = folder();
    let found = match std::fs::symlink_metadata(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(folder),
        Err(error) => {
            let what = format!("cannot look at {}: {error}", folder.display());
            return Err(io::Error::new(error.kind(), what));
        }
        Ok(found) => found,
    };
    if !found.is_dir() || found.uid() != user() || found.mode() & 0o077 != 0 {
        let folder = folder.display();
        let what = format!("{folder} is not a private folder of this user (mode 0700){ELSEWHERE}");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(folder)
}

/// The socket of the cluster with that name.
pub(crate) fn of_name(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.sock"))
}

/// The name of a cluster that was given none: its program's, and the primary's process id.
pub(crate) fn default_name(program: Option<&Path>) -> String {
    name_of(program, std::process::id())
}

/// As [`default_name`], for a program whose process is that one.
pub(crate) fn name_of(program: Option<&Path>, pid: u32) -> String {
    let stem = program.and_then(|p| p.file_stem()?.to_str()).unwrap_or("demo");
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let stem: String = stem.chars().map(plain).take(40).collect();
    format!("{stem}-{pid}")
}

/// Whether a cluster of that name may be one that was given none, and whose program is `program`: its name, with
/// or without its ending.
pub(crate) fn is_default_name(name: &str, program: &str) -> bool {
    let of = |program: &str| {
        let number = name.strip_prefix(program).and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let stem = Path::new(program).file_stem().and_then(|stem| stem.to_str());
    of(program) || stem.is_some_and(of)
}

/// A socket file that is younger may belong to a cluster that is just starting: for a moment the file is
/// there before the socket is.
const SETTLED: Duration = Duration::from_secs(60);

/// The clusters that are there: their names, and their sockets. Files of those that were killed are
/// removed.
pub(crate) fn live(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut live: Vec<_> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .filter_map(|entry| {
            let path = entry.path();
            let name = path.file_name()?.to_str()?.strip_suffix(".sock")?.to_owned();
            match probe(&path) {
                Probe::Open => Some((name, path)),
                Probe::Dead if is_settled(&entry) => {
                    // Another command may have been faster.
                    let _ = std::fs::remove_file(&path);
                    None
                }
                Probe::Dead | Probe::Unknown => None,
            }
        })
        .collect();
    live.sort();
    live
}

static REACHING: Mutex<()> = Mutex::new(());

/// Whether the file has been there for a while.
fn is_settled(entry: &std::fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|found| found.modified());
    modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > SETTLED))
}

/// What a socket's file stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// A socket that some process has open.
    Open,
    /// No socket any more.
    Dead,
    Unknown,
}

/// Asks without being noticed: to a stream socket the kernel connects no datagram socket, but it says
/// first if there is none.
fn probe(path: &Path) -> Probe {
    let asked = reach(path, |path| UnixDatagram::unbound()?.connect(path));
    match asked.err().and_then(|error| Errno::from_io_error(&error)) {
        Some(Errno::PROTOTYPE) => Probe::Open,
        Some(Errno::CONNREFUSED) => Probe::Dead,
        _ => Probe::Unknown,
    }
}

/// Connects to a control socket.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    reach(path, |path| UnixStream::connect(path))
}

/// Does that with a path, however long it is: an address holds about a hundred bytes.
fn reach<T>(path: &Path, way: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let _alone = REACHING.lock();
    match way(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(error);
            };
            // Nothing of this program depends on where it is but these calls, one at a time.
            let before = std::env::current_dir()?;
            std::env::set_current_dir(folder)?;
            let reached = way(Path::new(name));
            std::env::set_current_dir(before)?;
            reached
        }
        reached => reached,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_with_a_programs_is_another_clusters() {
        for (name, program, is) in [
            ("app-4711", "app", true),
            ("app-4711", "app.js", true),
            ("my-app-1", "my-app", true),
            ("app-staging", "app", false),
            ("app-staging-7", "app", false),
            ("app-", "app", false),
            ("app", "app", false),
            ("apple-7", "app", false),
        ] {
            assert_eq!(is_default_name(name, program), is, "{name} {program}");
        }
    }
}
