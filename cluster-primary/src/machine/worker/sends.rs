//! What has to be reported of the messages to one worker.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::SendId;

/// What has to be reported of the messages to one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sends {
    /// Messages that are not written yet, or whose descriptors are not answered for.
    open: BTreeSet<SendId>,
    /// The user waits for [`Event::Drained`](crate::Event::Drained): the driver has marked the end of the queue.
    draining: bool,
}

impl Sends {
    /// Whether nothing has to be reported.
    pub(in crate::machine) fn is_idle(&self) -> bool {
        self.open.is_empty() && !self.draining
    }

    pub(in crate::machine) fn begin(&mut self, id: SendId) {
        self.open.insert(id);
    }

    /// Whether that message was still to be reported.
    pub(in crate::machine) fn end(&mut self, id: SendId) -> bool {
        self.open.remove(&id)
    }

    /// The user waits until the queue is written. Whether it did not before.
    pub(in crate::machine) fn await_drained(&mut self) -> bool {
        !std::mem::replace(&mut self.draining, true)
    }

    /// The queue is written. Whether the user waits for that.
    pub(in crate::machine) fn take_drained(&mut self) -> bool {
        std::mem::take(&mut self.draining)
    }

    /// The channel has closed: all that was still to be reported.
    pub(in crate::machine) fn end_all(&mut self) -> BTreeSet<SendId> {
        std::mem::take(self).open
    }
}
