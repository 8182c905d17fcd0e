//! Whether programs may be loaded into the kernel, and how not to be allowed to.

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Either lets a thread load programs.
const LETS: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::SYS_ADMIN);

/// Whether this thread may.
pub(crate) fn held() -> bool {
    capabilities(None).expect("they can be read").effective.intersects(LETS)
}

/// From now on this thread may not, nor may those that it starts.
#[allow(dead_code, reason = "each test takes what it needs")]
pub(crate) fn drop() {
    let mut sets = capabilities(None).expect("they can be read");
    sets.effective.remove(LETS);
    sets.permitted.remove(LETS);
    sets.inheritable.remove(LETS);
    set_capabilities(None, sets).expect("less is always granted");
    assert!(!held());
}
