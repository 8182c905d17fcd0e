//! How many descriptors a process may have.

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What [`raise`] found and what it set, the last time that it set anything: a process may have
/// one primary after the other.
static RAISED: Mutex<Option<(Rlimit, Option<u64>)>> = Mutex::new(None);

/// Raises the soft limit of descriptors to the hard one. Returns the previous limit.
///
/// A primary holds a descriptor for each connection in flight; a worker gets the limit that it would have
/// without a primary.
pub(super) fn raise() -> Rlimit {
    let mut raised = RAISED.lock();
    let now = getrlimit(Resource::Nofile);
    if let Some((before, to)) = *raised
        && now.current == to
        && now.maximum == before.maximum
    {
        return before;
    }
    let all = Rlimit { current: now.maximum, maximum: now.maximum };
    // If even this is refused, the primary works within the present limit.
    if setrlimit(Resource::Nofile, all).is_ok() {
        *raised = Some((now, now.maximum));
    }
    now
}

/// As [`raise`], of a process that was another program before, which has found that limit. What this
/// one has found by itself stays.
pub(super) fn raise_again(found: Rlimit) {
    let now = getrlimit(Resource::Nofile);
    let all = Rlimit { current: now.maximum, maximum: now.maximum };
    // If that fails the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, all);
    let now = getrlimit(Resource::Nofile);
    if now.maximum == found.maximum && now.current != found.current {
        RAISED.lock().get_or_insert((found, now.current));
    }
}

/// How many of them connections may take that are held here, whether they wait or are under way to
/// a worker. Half is left for sockets, channels and pipes: a worker that dies must be replaced however
/// many wait.
pub(super) fn for_connections() -> usize {
    part(2)
}

/// How many connections may be under way: each costs a descriptor here, and another one in the
/// kernel, which counts those under way against the same limit.
pub(super) fn for_hand_offs() -> usize {
    part(4)
}

/// How many descriptors server sockets may use.
pub(super) fn for_sockets() -> usize {
    part(4)
}

/// How many of them may be descriptors that workers sent with messages which the program has not taken.
pub(super) fn for_messages() -> usize {
    part(16).max(1)
}

/// How many clients of a control API may be connected at a time: a sixteenth of the descriptors, from 8 to
/// 1,024.
pub fn for_clients() -> usize {
    part(16).clamp(8, 1024)
}

fn part(of: u64) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / of).unwrap_or(usize::MAX)
}

/// Sets the limit as it was. For a child before its exec.
pub(super) fn restore(limit: Rlimit) {
    let _ = setrlimit(Resource::Nofile, limit);
}
