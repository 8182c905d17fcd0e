//! A primary and a worker that do as they are told: our own side of the comparison. What they can be
//! told is what `xtask/compat/*.cjs` can be told.

mod link;
pub(super) mod primary;
mod sockets;
pub(super) mod worker;

/// The name of an `errno`, of those that the scenarios bring about.
fn errno_name(errno: i32) -> String {
    use rustix::io::Errno;
    const NAMES: [(Errno, &str); 6] = [
        (Errno::ACCESS, "EACCES"),
        (Errno::ADDRINUSE, "EADDRINUSE"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::BADF, "EBADF"),
        (Errno::INVAL, "EINVAL"),
        (Errno::NOENT, "ENOENT"),
    ];
    let name = NAMES.iter().find(|(known, _)| known.raw_os_error() == errno);
    name.map_or_else(|| errno.to_string(), |(_, name)| (*name).to_owned())
}

/// A thread that panics ends its actor, and so the play.
fn abort_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}
