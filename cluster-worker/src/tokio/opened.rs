//! A server of a worker on tokio, as long as something has it.

use std::io;
use std::sync::Arc;

use crate::driver::{Core, Shared};
use crate::error::ListenError;
use crate::machine::ServerId;

/// A server that is forgotten when it is dropped.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) server: ServerId,
}

impl Opened {
    /// It cannot be waited for.
    pub(super) fn unusable(&self, error: &io::Error) -> ListenError {
        let name = |core: &mut Core| core.servers.get(&self.server).map(|s| s.name.clone());
        let address = self.shared.with(name).unwrap_or_default();
        ListenError::Unusable { address, errno: error.raw_os_error().unwrap_or_default() }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.shared.with(|core| core.forget(self.server));
    }
}
