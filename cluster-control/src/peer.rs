//! Who is at the other end of a control connection.

use std::os::fd::AsFd;

#[cfg(target_os = "linux")]
use nix::sys::socket::sockopt::PeerCredentials;

/// Whether the client is this user's, or root's.
#[cfg(target_os = "linux")]
pub(crate) fn is_trusted(client: impl AsFd) -> bool {
    let own = rustix::process::geteuid().as_raw();
    // Not by rustix, whose process ids are never 0: that of a client outside our PID namespace is.
    let peer = nix::sys::socket::getsockopt(&client, PeerCredentials);
    peer.is_ok_and(|peer| [own, 0].contains(&peer.uid()))
}

/// The process that has connected; `None` where it is not known, as outside our PID namespace.
#[cfg(target_os = "linux")]
pub(crate) fn peer_pid(client: impl AsFd) -> Option<u32> {
    let peer = nix::sys::socket::getsockopt(&client, PeerCredentials).ok()?;
    u32::try_from(peer.pid()).ok().filter(|pid| *pid != 0)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_pid(_client: impl AsFd) -> Option<u32> {
    None
}

/// Elsewhere the file's mode has to do.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_trusted(_client: impl AsFd) -> bool {
    true
}
