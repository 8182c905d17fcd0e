//! How many descriptors a process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit of descriptors to the hard one; the limit as it was.
///
/// A primary holds a descriptor per connection under way; a worker shall find what it would have
/// found without one.
pub(super) fn raise() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    // Where even this is refused, the primary works within what it has.
    let _kept =
        setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum });
    before
}

/// Sets the limit as it was. For a child before its exec.
pub(super) fn restore(limit: Rlimit) {
    let _kept = setrlimit(Resource::Nofile, limit);
}
