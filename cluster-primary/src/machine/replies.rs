//! Replies to workers whose listen failed.

use cluster_proto::{ClusterBody, ListenReply, ServerKey};

use super::base::Machine;
use crate::event::{Address, Event};
use crate::id::WorkerId;
use crate::listen_limit::ListenLimit;

/// `EMFILE`, by libuv's sign.
const TOO_MANY: i32 = -24;
/// Negated, as libuv has them; the numbers are the same on every Unix.
const ENOENT: i32 = -2;
const EACCES: i32 = -13;

impl Machine {
    pub(super) fn reply_failure(
        &mut self,
        worker: WorkerId,
        seq: u64,
        key: ServerKey,
        address: Address,
        errno: i32,
    ) {
        self.refuse_listen(worker, seq, key, address, errno, None);
    }

    /// The worker has as many servers, or its slot or the cluster as many sockets, as there may be.
    pub(super) fn reply_limit(
        &mut self,
        worker: WorkerId,
        seq: u64,
        key: ServerKey,
        address: Address,
        limit: ListenLimit,
    ) {
        self.refuse_listen(worker, seq, key, address, TOO_MANY, Some(limit));
    }

    fn refuse_listen(
        &mut self,
        worker: WorkerId,
        seq: u64,
        key: ServerKey,
        address: Address,
        errno: i32,
        limit: Option<ListenLimit>,
    ) {
        if self.known(worker).is_none_or(|w| !w.may_listen()) {
            return;
        }
        let data = Default::default();
        // Node reports a missing folder as `EACCES` to the program. The event has the true reason.
        let told = if errno == ENOENT { EACCES } else { errno };
        let reply = ListenReply { errno: Some(told), key, data, sockname: None };
        self.send_internal(worker, Some(seq), ClusterBody::ListenReply(Box::new(reply)));
        let error = std::io::Error::from_raw_os_error(errno.wrapping_neg());
        self.event(Event::ListenFailed { worker, address, error, limit });
    }
}
