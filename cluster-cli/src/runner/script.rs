//! The program whose workers these are: `cluster exec`.

use std::io;
use std::os::unix::net::UnixListener;

use super::base::Runner;
use crate::exec::Script;

impl Runner {
    /// Serves the workers of that process, which come through that listener. (`placement_is_set`: by an option.)
    pub(crate) fn serve_script(
        &mut self,
        pid: u32,
        listener: UnixListener,
        placement_is_set: bool,
    ) -> io::Result<()> {
        let script = Script::new(self.cluster.primary_mut(), pid, listener, placement_is_set)?;
        self.script = Some(script);
        Ok(())
    }

    /// How many workers the script has forked, if there is one.
    pub(crate) fn script_workers(&self) -> Option<u64> {
        self.script.as_ref().map(Script::workers)
    }

    pub(super) fn has_script(&self) -> bool {
        self.script.is_some()
    }

    /// Whether the script has something to do that needs no wake.
    pub(super) fn has_script_pending(&self) -> bool {
        self.script.as_ref().is_some_and(Script::has_pending)
    }

    /// Passes on what waits; whether the script has ended, and the cluster with it.
    pub(super) fn is_script_over(&mut self) -> io::Result<bool> {
        let Some(script) = &mut self.script else { return Ok(false) };
        script.process(self.cluster.primary_mut())
    }
}
