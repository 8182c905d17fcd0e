//! What is handed over.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use cluster_control::ReloadFailure;
use serde::{Deserialize, Serialize};

use super::variables::{FAILED, STATE};
use crate::descriptor::duplicate;
use crate::hex::Hex;
use crate::listen::{Socket, SocketFile};
use crate::logs::lines::State;
use crate::warnings::Warned;

/// The form of what is handed over. An image reads its own and older ones.
pub(crate) const FORMAT: u32 = 2;

/// The whole of it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Handed {
    pub(crate) format: u32,
    /// Of the program that wrote it.
    pub(crate) version: String,
    /// The program that wrote it, to go back to.
    pub(crate) program: Option<RawFd>,
    /// The program that is executed, if its interpreter has to read it.
    pub(crate) executed: Option<RawFd>,
    /// Where programs are taken from: that of an image that was gone back to has no place of its own.
    pub(crate) path: Option<Hex>,
    /// Upgrades so far, without this one.
    pub(crate) upgrades: u64,
    /// The options in force, as a configuration file.
    pub(crate) options: String,
    pub(crate) cluster: Part,
    pub(crate) control: Option<Part>,
    pub(crate) http: Option<RawFd>,
    /// The socket of `NOTIFY_SOCKET`, and its address.
    pub(crate) notify: Option<(RawFd, Hex)>,
    pub(crate) sockets: Vec<HandedSocket>,
    /// The beginnings of workers' lines.
    pub(crate) lines: Option<State<(u32, u32)>>,
    /// The service manager knows that all is ready.
    pub(crate) announced: bool,
    /// The last reload failed.
    pub(crate) reload_failure: Option<ReloadFailure>,
    /// What has been warned of; none where the version before did not warn.
    pub(crate) warnings: Option<Warned>,
    /// Who waits for the upgrade to be over.
    pub(crate) asked_by: Vec<u64>,
    /// Workers that have said something on their channels.
    pub(crate) online: Vec<u32>,
    /// The process was started to ignore the terminal's hang-up.
    pub(crate) hang_ups_ignored: bool,
    /// Where the cluster was started, by name.
    pub(crate) directory: Option<Hex>,
    /// Programs whose messages nothing listens to, as far as that has been said, and whether the
    /// message is `ready`.
    pub(crate) unheard: Vec<(Hex, bool)>,
}

/// A text, and the descriptors that it speaks of.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) descriptors: Vec<RawFd>,
}

impl Part {
    /// Duplicates of its descriptors.
    ///
    /// # Errors
    /// If they cannot be had.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.descriptors.iter().map(|number| duplicate(*number)).collect()
    }
}

/// A socket for programs that know nothing of clusters.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HandedSocket {
    pub(crate) name: String,
    pub(crate) at: String,
    pub(crate) descriptor: RawFd,
    /// Its file, if it has one.
    pub(crate) path: Option<Hex>,
    /// The file's folder, and what the file is; none where the version before did not hold it.
    #[serde(default)]
    pub(crate) folder: Option<RawFd>,
    #[serde(default)]
    pub(crate) identity: Option<(u64, u64, i64, i64)>,
}

impl HandedSocket {
    pub(crate) fn of(socket: &Socket) -> Self {
        Self {
            name: socket.name.clone(),
            at: socket.at.clone(),
            descriptor: socket.fd.as_raw_fd(),
            path: socket.path().map(Hex::of),
            folder: socket.file().map(|file| file.folder().as_raw_fd()),
            identity: socket.file().map(SocketFile::identity),
        }
    }

    /// # Errors
    /// If the descriptor cannot be had.
    pub(crate) fn take_up(&self) -> io::Result<Socket> {
        let path = self.path.as_ref().map(Hex::bytes).transpose()?;
        let (name, at, fd) = (self.name.clone(), self.at.clone(), duplicate(self.descriptor)?);
        let file = match (path.as_ref().map(Path::new), self.folder, self.identity) {
            (Some(path), Some(folder), Some(identity)) => {
                Some(SocketFile::known(path, duplicate(folder)?, identity))
            }
            // One whose file is gone has nothing to remove.
            (Some(path), _, _) => SocketFile::new(path).ok(),
            (None, _, _) => None,
        };
        Ok(Socket::open_already(name, at, fd, file))
    }
}

pub(super) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Handed {
    /// Reads it; a form that is too new is told from one that is broken.
    pub(super) fn read(mut from: impl Read) -> io::Result<Self> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        #[derive(Deserialize)]
        struct Form {
            format: u32,
        }
        let broken = |error| invalid(format!("the state cannot be read: {error}"));
        let Form { format } = serde_json::from_str(&text).map_err(broken)?;
        if format == 0 || format > FORMAT {
            let what =
                format!("its state has the form {format}; this program knows up to {FORMAT}");
            return Err(invalid(what));
        }
        serde_json::from_str(&text).map_err(broken)
    }

    /// Writes it into a memory file that stays over an `execve`.
    pub(super) fn write(&self) -> io::Result<File> {
        let text = serde_json::to_string(self).map_err(|error| invalid(error.to_string()))?;
        let mut file = File::from(memory()?);
        file.write_all(text.as_bytes())?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Every descriptor that it speaks of.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let parts = std::iter::once(&self.cluster).chain(&self.control);
        let parts = parts.flat_map(|part| part.descriptors.iter().copied());
        let sockets = self.sockets.iter().map(|socket| socket.descriptor);
        let sockets = sockets.chain(self.sockets.iter().filter_map(|socket| socket.folder));
        let notify = self.notify.iter().map(|(descriptor, _)| *descriptor);
        let programs = self.program.into_iter().chain(self.executed);
        parts.chain(sockets).chain(notify).chain(self.http).chain(programs)
    }
}

#[cfg(target_os = "linux")]
fn memory() -> io::Result<OwnedFd> {
    Ok(rustix::fs::memfd_create("cluster-upgrade", rustix::fs::MemfdFlags::CLOEXEC)?)
}

/// A file that has no name any more will do as well.
#[cfg(not(target_os = "linux"))]
fn memory() -> io::Result<OwnedFd> {
    let path = std::env::temp_dir().join(format!("cluster-upgrade-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}

/// What was handed over to this image, if anything was: the originals are still open.
pub(crate) struct Inherited {
    pub(crate) handed: Handed,
    /// The memory file.
    pub(super) file: File,
    /// What went wrong with the image before, if this is the one to go back to.
    pub(crate) failed: Option<String>,
}

/// Takes what the environment names, and has no child find it there.
///
/// # Errors
/// If it is not what it should be. There is no way to go on then.
pub(crate) fn inherited() -> io::Result<Option<Inherited>> {
    let Some(number) = std::env::var_os(STATE) else { return Ok(None) };
    let failed = std::env::var_os(FAILED).map(|why| why.to_string_lossy().into_owned());
    let number = number.to_str().and_then(|number| number.parse::<RawFd>().ok());
    let number = number.filter(|number| *number > 2 && is_open(*number));
    let number = number.ok_or_else(|| invalid(format!("{STATE} names no descriptor")))?;
    let mut file = File::from(adopt(number));
    file.seek(SeekFrom::Start(0))?;
    let handed = Handed::read(&file)?;
    if let Some(missing) = handed.descriptors().find(|number| *number < 3 || !is_open(*number)) {
        return Err(invalid(format!("descriptor {missing} was not handed over")));
    }
    Ok(Some(Inherited { handed, file, failed }))
}

pub(super) fn is_open(number: RawFd) -> bool {
    duplicate(number).is_ok()
}

/// What was handed over, as one's own.
#[expect(unsafe_code, reason = "a number that was inherited is all that there is of it")]
pub(super) fn adopt(number: RawFd) -> OwnedFd {
    // SAFETY: the image before left it open for this one, and nothing else in this process knows of it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

impl Inherited {
    /// All stands: the originals are not needed any more.
    pub(crate) fn done(self) {
        let mut numbers: Vec<_> = self.handed.descriptors().collect();
        numbers.sort_unstable();
        numbers.dedup();
        let own = self.file.as_raw_fd();
        numbers.into_iter().filter(|number| *number != own).for_each(|n| drop(adopt(n)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let handed = Handed {
            format: FORMAT,
            version: "0.1.0".into(),
            cluster: Part { text: "{}".into(), descriptors: vec![5, 6] },
            notify: Some((9, Hex::of("@a\u{e9}"))),
            upgrades: 3,
            ..Handed::default()
        };
        let read = Handed::read(handed.write().unwrap()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{handed:?}"));
        assert_eq!(read.descriptors().collect::<Vec<_>>(), [5, 6, 9]);
        let (_, address) = read.notify.unwrap();
        assert_eq!(address.bytes().unwrap(), "@a\u{e9}");
    }

    #[test]
    fn an_older_form_is_read_and_a_newer_one_refused() {
        let old =
            br#"{"format": 1, "version": "0.0.9", "cluster": {"text": "{}", "descriptors": []}}"#;
        let read = Handed::read(&old[..]).unwrap();
        assert_eq!((read.upgrades, read.version.as_str()), (0, "0.0.9"));
        let new = br#"{"format": 99, "unknown": true}"#;
        let error = Handed::read(&new[..]).unwrap_err().to_string();
        assert!(error.contains("the form 99; this program knows up to 2"), "{error}");
        for broken in ["", "{", "[]", "{\"format\":0}", "{\"format\":2,\"http\":\"x\"}", "\u{0}"] {
            assert!(Handed::read(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
