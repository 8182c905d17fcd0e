//! What can be done where something cannot be listened on.

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::path::Path;

use cluster_primary::proto::abstract_name;
use cluster_primary::{Address, Settings};
use rustix::io::Errno;

use super::unix;

/// What was to be listened on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Port(u16),
    Path(&'a Path),
    /// One that is bound with the rights of the workers' user.
    WorkerPort(u16),
    WorkerPath(&'a Path),
    /// In Linux's abstract namespace.
    Abstract,
    Descriptor,
}

impl<'a> Place<'a> {
    /// Where a worker wanted to, under these settings.
    pub(crate) fn of(address: &'a Address, settings: &Settings) -> Self {
        let other_user =
            settings.uid.is_some() || settings.gid.is_some() || settings.groups.is_some();
        match Self::of_address(address) {
            Self::Port(port) if settings.listen_as_worker && other_user => Self::WorkerPort(port),
            Self::Path(path) if settings.listen_as_worker && other_user => Self::WorkerPath(path),
            place => place,
        }
    }

    fn of_address(address: &'a Address) -> Self {
        match (&address.address, address.port) {
            (Some(path), Some(..0)) if abstract_name(path).is_some() => Self::Abstract,
            (Some(path), Some(..0)) => Self::Path(Path::new(path)),
            (_, Some(port)) => u16::try_from(port).map_or(Self::Descriptor, Self::Port),
            _ => Self::Descriptor,
        }
    }
}

/// The end of a sentence that says what went wrong; empty if there is nothing to add.
pub(crate) fn advice(place: Place<'_>, error: &io::Error) -> Cow<'static, str> {
    match (place, error.kind()) {
        (Place::Path(path), ErrorKind::NotFound) => missing_folder(path).into(),
        _ => general(place, error).into(),
    }
}

fn missing_folder(path: &Path) -> String {
    let folder = std::path::absolute(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    match folder.filter(|folder| !folder.exists()) {
        Some(folder) => format!("; the folder {} does not exist", folder.display()),
        None => "; does that folder exist?".into(),
    }
}

fn general(place: Place<'_>, error: &io::Error) -> &'static str {
    let errno = Errno::from_io_error(error);
    match (place, error.kind()) {
        (Place::WorkerPort(_) | Place::WorkerPath(_), _)
            if matches!(errno, Some(Errno::TIMEDOUT | Errno::CANCELED)) =>
        {
            "; sockets are made by a process of the workers' user (--uid), which was stopped or killed \
             before it was done: by another process of that user?"
        }
        (Place::WorkerPort(1..1024), ErrorKind::PermissionDenied) => {
            "; it is bound with the rights of the workers' user: --privileged-ports lets workers listen \
             on such a port"
        }
        (Place::WorkerPath(_), ErrorKind::PermissionDenied) => {
            "; it is created with the rights of the workers' user: may that user write in the folder? (--listen \
             unix:PATH opens a socket with the primary's)"
        }
        (Place::WorkerPath(path), ErrorKind::AddrInUse) if unix::is_in_the_way(path) => {
            "; the file there is not a socket of the workers' user or of --socket-owner: move it away, or \
             choose another path"
        }
        (Place::Path(path), ErrorKind::AddrInUse) if unix::is_in_the_way(path) => {
            "; the file there is not a socket of this user: move it away, or choose another path"
        }
        (_, ErrorKind::AddrInUse) => {
            "; another program listens there (ss -lp names it): stop it, or choose another address"
        }
        (_, ErrorKind::AddrNotAvailable) => "; this machine does not have that address",
        (Place::Path(_) | Place::WorkerPath(_), _) if errno == Some(Errno::PERM) => {
            "; changing its owner (--socket-owner) requires root or CAP_CHOWN, except to a group of this user"
        }
        (Place::Path(_), ErrorKind::PermissionDenied) => "; may this user write in that folder?",
        (Place::Port(1..1024), ErrorKind::PermissionDenied) => {
            "; ports below 1024 require root, or CAP_NET_BIND_SERVICE"
        }
        (
            Place::Path(_) | Place::WorkerPath(_) | Place::Abstract,
            ErrorKind::InvalidInput | ErrorKind::InvalidFilename,
        ) => "; the path of a socket may have about 100 bytes",
        (Place::Port(_) | Place::WorkerPort(_), _) if errno == Some(Errno::AFNOSUPPORT) => {
            "; this system does not support that address family (IPv6, perhaps)"
        }
        _ => exhausted(error),
    }
}

/// What can be done where the system gives no more descriptors.
pub(crate) fn exhausted(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "; this process has reached its limit of open descriptors: ulimit -n, or LimitNOFILE= of its \
             unit"
        }
        Some(Errno::NFILE) => {
            "; the system has reached its limit of open descriptors: sysctl fs.file-max"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_is_advised_about() {
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        let said = advice(Place::Port(80), &denied);
        assert!(said.contains("CAP_NET_BIND_SERVICE"), "{said}");
        assert_eq!(advice(Place::Port(8000), &denied), "");
        let said = advice(Place::Path(Path::new("/x")), &denied);
        assert!(said.contains("write in that folder"), "{said}");
        let said = advice(Place::WorkerPort(80), &denied);
        assert!(said.contains("--privileged-ports"), "{said}");
        let said = advice(Place::WorkerPath(Path::new("/x")), &denied);
        assert!(said.contains("that user write"), "{said}");
        let said = advice(Place::WorkerPort(8000), &Errno::TIMEDOUT.into());
        assert!(said.contains("stopped or killed"), "{said}");
        let said = advice(Place::Port(8000), &Errno::MFILE.into());
        assert!(said.contains("ulimit -n"), "{said}");
    }

    #[test]
    fn a_workers_address_is_a_place() {
        let address = |address: Option<&str>, port, fd| Address {
            address: address.map(Into::into),
            port,
            address_type: None,
            fd,
        };
        let mut settings = Settings::new("app");
        let port = address(None, Some(80), None);
        let path = address(Some("/x"), Some(-1), None);
        assert!(matches!(Place::of(&port, &settings), Place::Port(80)));
        assert!(matches!(Place::of(&path, &settings), Place::Path(_)));
        settings.uid = Some(1);
        settings.listen_as_worker = true;
        assert!(matches!(Place::of(&port, &settings), Place::WorkerPort(80)));
        assert!(matches!(Place::of(&path, &settings), Place::WorkerPath(_)));
        let abstract_address = address(Some("/app/\0x"), Some(-1), None);
        let abstract_name = Place::of(&abstract_address, &settings);
        assert!(matches!(abstract_name, Place::Abstract));
        let said = advice(abstract_name, &Errno::ADDRINUSE.into());
        assert!(said.contains("another program listens there"), "{said}");
        assert!(matches!(Place::of(&address(None, None, Some(7)), &settings), Place::Descriptor));
    }
}
