//! Where no child ever makes a socket.

use cluster_sched::Mono;

use super::base::Primary;
use super::rights::Rights;
use super::socket_file::SocketFile;

impl Primary {
    pub(super) fn begin_delegated(&mut self) {}

    pub(super) fn read_binder(&mut self, _: u32) {}

    pub(super) fn reap_binder(&mut self, _: u32) {}

    pub(super) fn end_late_jobs(&mut self, _: Mono) {}

    pub(super) fn remove_last(&mut self, _: Vec<(SocketFile, Rights)>) {}
}
