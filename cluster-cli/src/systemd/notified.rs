//! The other way round: workers that say by sd_notify how they are, as programs do that know nothing
//! of clusters.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::credentials;
use crate::descriptor::duplicate;
use crate::hex::Hex;

/// What the names of folders begin with that are made for such a socket.
const FOLDER: &str = "cluster-notify-";

/// The longest that is read: as systemd has it.
const LONGEST: usize = 4096;

/// A socket for the `NOTIFY_SOCKET` of workers.
///
/// The kernel tells which process sent a report; the caller must know whether that is a worker: on some
/// systems any process may write here.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: UnixDatagram,
    address: OsString,
    file: Option<PathBuf>,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Told(Notification),
    /// Something that is no notification. There may be more behind it.
    Ignored,
    /// Nothing more, for now.
    Nothing,
}

/// What a process says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    /// The process.
    pub(crate) pid: u32,
    /// `READY` and `1`, say, in the order in which it said them.
    pub(crate) fields: Vec<(String, String)>,
}

impl Notification {
    /// Whether it says that it serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.fields.iter().any(|(name, value)| name == "READY" && value == "1")
    }
}

impl NotifySocket {
    /// A file in that folder, which every library knows to write to; without a folder a name that is
    /// no file's, for workers of another user who cannot get into ours. (Not all libraries know such
    /// names.)
    ///
    /// # Errors
    /// If it cannot be bound, or on a system whose kernel does not pass on the sender's credentials.
    pub(crate) fn bind(folder: Option<&Path>) -> io::Result<Self> {
        let (socket, address, file) = match folder {
            Some(folder) => {
                let file = folder.join(format!("{}.notify", std::process::id()));
                // It was a process's that had our number, and is no more.
                let _ = std::fs::remove_file(&file);
                let socket = UnixDatagram::bind(&file).map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
                })?;
                (socket, file.clone().into_os_string(), Some(file))
            }
            None => {
                let (socket, name) = unnamed()?;
                (socket, name, None)
            }
        };
        let bound = Self { socket, address, file };
        bound.socket.set_nonblocking(true)?;
        credentials::ask(bound.socket.as_fd())?;
        Ok(bound)
    }

    /// A socket for workers of that user: a file to which only that user, and root, can write, in a
    /// folder of its own. Where no such file can be made, a name that is no file's.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub(crate) fn bind_for(user: u32) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("{FOLDER}{}", std::process::id()));
        // Every user may look a name up in it, and no other may change it.
        let made = std::fs::DirBuilder::new().mode(0o711).create(&folder).and_then(|()| {
            // Whatever the mask says.
            std::fs::set_permissions(&folder, Permissions::from_mode(0o711))?;
            Self::bind(Some(&folder))
        });
        match made {
            Ok(bound) => {
                if let Some(file) = &bound.file {
                    std::fs::set_permissions(file, Permissions::from_mode(0o600))?;
                    admit(file, Some(user))?;
                }
                Ok(bound)
            }
            Err(_) => {
                // It may be another's.
                let _ = std::fs::remove_dir(&folder);
                Self::bind(None)
            }
        }
    }

    /// The file, if it is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// What an image of this program hands over to the next.
    pub(crate) fn handed(&self) -> (RawFd, Hex) {
        (self.as_raw_fd(), Hex::of(&self.address))
    }

    /// What was handed over.
    ///
    /// # Errors
    /// If the descriptor cannot be had.
    pub(crate) fn take_up((descriptor, address): &(RawFd, Hex)) -> io::Result<Self> {
        let socket = UnixDatagram::from(duplicate(*descriptor)?);
        let address = address.bytes()?;
        let is_file = Path::new(&address).is_absolute();
        let file = is_file.then(|| PathBuf::from(&address));
        Ok(Self { socket, address, file })
    }

    /// What workers are to find in `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> &OsStr {
        &self.address
    }

    /// The next of what came. It waits for nothing.
    ///
    /// # Errors
    /// If the socket cannot be read.
    pub(crate) fn receive(&self) -> io::Result<Heard> {
        // One byte more, so that what is too long is seen to be.
        let mut buffer = [0; LONGEST + 1];
        match credentials::receive(self.socket.as_fd(), &mut buffer) {
            Ok((length, sender)) => {
                let notification = sender.and_then(|pid| read(pid, &buffer[..length]));
                Ok(notification.map_or(Heard::Ignored, Heard::Told))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(error) => Err(error),
        }
    }
}

/// Gives the file to the user who may write to it; without one, to our own.
pub(super) fn admit(file: &Path, user: Option<u32>) -> io::Result<()> {
    let user = user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    std::os::unix::fs::lchown(file, Some(user), None)
}

fn read(pid: u32, bytes: &[u8]) -> Option<Notification> {
    if bytes.len() > LONGEST {
        return None;
    }
    let lines = std::str::from_utf8(bytes).ok()?.lines().filter(|line| !line.is_empty());
    let field = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    let fields: Vec<_> = lines.map(field).collect::<Option<_>>()?;
    (!fields.is_empty()).then_some(Notification { pid, fields })
}

/// A name that the kernel chooses.
#[cfg(target_os = "linux")]
fn unnamed() -> io::Result<(UnixDatagram, OsString)> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStringExt;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
    let socket = UnixDatagram::from(socket);
    let address = socket.local_addr()?;
    let name = address.as_abstract_name().ok_or(io::ErrorKind::Unsupported)?;
    Ok((socket, OsString::from_vec([b"@", name].concat())))
}

#[cfg(not(target_os = "linux"))]
fn unnamed() -> io::Result<(UnixDatagram, OsString)> {
    Err(io::ErrorKind::Unsupported.into())
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NotifySocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
            let folder = file.parent().filter(|folder| is_own_folder(folder));
            // It is not empty if something else was put there, by root.
            let _ = folder.map(std::fs::remove_dir);
        }
    }
}

/// Whether it was made for the socket alone.
fn is_own_folder(folder: &Path) -> bool {
    let name = folder.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.starts_with(FOLDER))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use cluster_primary::Mono;

    use super::super::{Systemd, connect};
    use super::*;

    fn told(socket: &mut NotifySocket) -> Notification {
        match socket.receive().expect("it can be read") {
            Heard::Told(notification) => notification,
            other => panic!("{other:?}"),
        }
    }

    fn sender(to: &NotifySocket) -> UnixDatagram {
        let socket = UnixDatagram::unbound().expect("a socket");
        connect(&socket, to.address()).expect("it listens");
        socket
    }

    /// Each with a folder and without.
    fn both(test: impl Fn(&mut NotifySocket)) {
        let name = std::thread::current().name().unwrap_or("test").replace(':', "-");
        let folder = std::env::temp_dir().join(format!("cluster-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        test(&mut NotifySocket::bind(Some(&folder)).expect("a socket"));
        assert_eq!(std::fs::read_dir(&folder).expect("it is there").count(), 0, "no file stays");
        std::fs::remove_dir(&folder).expect("it is ours");
        test(&mut NotifySocket::bind(None).expect("a socket"));
    }

    #[test]
    fn what_we_say_ourselves_is_understood() {
        both(|socket| {
            let mut service = Systemd::new(Some(socket.address().into()), None, Mono::ZERO);
            service.ready().expect("it listens");
            service.stopping().expect("it listens");
            let pid = std::process::id();
            let ready = told(socket);
            assert!(ready.is_ready());
            let fields = [("READY", "1".to_owned()), ("MAINPID", pid.to_string())];
            assert_eq!(ready.fields, fields.map(|(name, value)| (name.to_owned(), value)));
            assert_eq!(ready.pid, pid);
            assert!(!told(socket).is_ready());
            assert_eq!(socket.receive().expect("it can be read"), Heard::Nothing);
        });
    }

    #[test]
    fn another_process_is_told_by_its_number() {
        both(|socket| {
            let address = socket.address().to_str().expect("it is text");
            let script = "import os, socket; a = os.environ['NOTIFY_SOCKET']\n\
                          s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                          s.connect('\\0' + a[1:] if a[0] == '@' else a)\n\
                          s.send(b'STATUS=a = b\\nREADY=1'); print(os.getpid())";
            let mut python = Command::new("python3");
            let output = python.args(["-c", script]).env("NOTIFY_SOCKET", address).output();
            let output = output.expect("there is Python");
            let pid = String::from_utf8(output.stdout).expect("a number");
            let notification = told(socket);
            assert_eq!(notification.pid.to_string(), pid.trim());
            assert_eq!(notification.fields[0], ("STATUS".into(), "a = b".into()));
            assert!(notification.is_ready());
        });
    }

    #[test]
    fn what_is_no_notification_is_ignored_and_counted() {
        both(|socket| {
            let long = vec![b'A'; LONGEST + 1];
            let sender = sender(socket);
            let odd: [&[u8]; 7] =
                [b"", b"\n", b"READY", b"=1", b"READY=1\nx", b"READY=\xff", &long];
            for bytes in odd {
                sender.send(bytes).expect("it listens");
            }
            for bytes in odd {
                assert_eq!(socket.receive().expect("it can be read"), Heard::Ignored, "{bytes:?}");
            }
            assert_eq!(socket.receive().expect("it can be read"), Heard::Nothing);
        });
    }

    /// It waits until what it said was read: it sends a descriptor along, and waits until that is
    /// closed.
    #[test]
    fn systemds_own_program_is_understood() {
        both(|socket| {
            let mut notify = Command::new("systemd-notify");
            notify.args(["--ready", "--status=fine"]).env("NOTIFY_SOCKET", socket.address());
            let Ok(mut child) = notify.spawn() else {
                println!("skipped: there is no systemd-notify");
                return;
            };
            let mut ready = false;
            let status = loop {
                match socket.receive().expect("it can be read") {
                    Heard::Told(notification) => ready |= notification.is_ready(),
                    Heard::Ignored => panic!("it says nothing odd"),
                    Heard::Nothing => match child.try_wait().expect("it is ours") {
                        Some(status) => break status,
                        None => std::thread::sleep(std::time::Duration::from_millis(5)),
                    },
                }
            };
            assert!(status.success() && ready, "{status}");
        });
    }

    /// (As root, who may give files away.)
    #[test]
    fn another_users_socket_is_a_file_that_only_that_user_can_write_to() {
        use std::os::unix::fs::MetadataExt;
        if !rustix::process::geteuid().is_root() {
            println!("left out: not root");
            return;
        }
        let socket = NotifySocket::bind_for(65534).expect("a socket");
        let file = socket.file().expect("a file").to_owned();
        let folder = file.parent().expect("a folder").to_owned();
        let found = std::fs::metadata(&file).expect("it is there");
        assert_eq!((found.uid(), found.mode() & 0o777), (65534, 0o600));
        let found = std::fs::metadata(&folder).expect("it is there");
        assert_eq!((found.uid(), found.mode() & 0o777), (0, 0o711));
        admit(&file, Some(65533)).expect("root may");
        assert_eq!(std::fs::metadata(&file).expect("it is there").uid(), 65533);
        sender(&socket).send(b"READY=1").expect("it listens");
        assert!(matches!(socket.receive(), Ok(Heard::Told(_))));
        drop(socket);
        assert!(!folder.exists());
    }

    #[test]
    fn descriptors_that_come_along_stay_nowhere() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        both(|socket| {
            let sender = sender(socket);
            // What is sent is a pipe's end: when all copies are closed the other end tells.
            let (mut read, write) = std::io::pipe().expect("a pipe");
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let fds = [write.as_fd()];
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            let text = [io::IoSlice::new(b"FDSTORE=1")];
            sendmsg(&sender, &text, &mut control, SendFlags::empty()).expect("it listens");
            drop(write);
            assert_eq!(told(socket).fields, [("FDSTORE".to_owned(), "1".to_owned())]);
            let end = std::io::Read::read(&mut read, &mut [0]).expect("a pipe");
            assert_eq!(end, 0, "no process holds the other end");
        });
    }
}
