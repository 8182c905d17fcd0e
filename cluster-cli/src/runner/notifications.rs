//! Workers that report that they are ready as services do, by `NOTIFY_SOCKET`.

use cluster_primary::{WatchId, WorkerId};
use cluster_supervisor::driver::Supervised;

use crate::report::Report;
use crate::systemd::notified::Heard;
use crate::systemd::reader::NotifyReader;

/// Notifications that are handled before others have their turn.
const PER_PASS: usize = 64;

/// What has been read of the socket, and what was reported of it.
#[derive(Debug)]
pub(super) struct Notifications {
    watch: Option<WatchId>,
    /// More have been read than were handled.
    pub(super) more: bool,
    /// It has been reported that something came which is no notification.
    ignored: bool,
}

impl Notifications {
    pub(super) fn new(watch: Option<WatchId>) -> Self {
        Self { watch, more: false, ignored: false }
    }

    /// Handles what has come, up to a limit.
    pub(super) fn process(
        &mut self,
        notify: &mut NotifyReader,
        cluster: &mut Supervised,
        report: &Report,
    ) {
        let Some(watch) = self.watch else { return };
        if let Err(error) = notify.start() {
            report.warning(&format!(
                "cannot read the workers' notifications (NOTIFY_SOCKET): {error}"
            ));
        }
        if cluster.primary_mut().take_ready(watch) || self.more {
            self.take(notify, cluster, report);
        }
    }

    /// Handles what has been read, up to a limit; whether there may be more.
    pub(super) fn take(
        &mut self,
        notify: &mut NotifyReader,
        cluster: &mut Supervised,
        report: &Report,
    ) -> bool {
        let (heard, more) = notify.take(PER_PASS);
        self.more = more;
        for heard in heard {
            match heard {
                Heard::Told(said) if said.is_ready() => {
                    if let Some(worker) = worker_of(cluster, said.pid) {
                        cluster.notified(worker);
                    }
                }
                Heard::Ignored if !self.ignored => {
                    self.ignored = true;
                    report.warning(
                        "a datagram to NOTIFY_SOCKET is not a notification, and is ignored",
                    );
                }
                Heard::Told(_) | Heard::Ignored | Heard::Nothing => {}
            }
        }
        more
    }
}

fn worker_of(cluster: &Supervised, pid: u32) -> Option<WorkerId> {
    let primary = cluster.primary();
    let is_it = |id: &WorkerId| primary.worker_state(*id).is_some_and(|state| state.pid == pid);
    primary.all_workers().into_iter().find(is_it)
}
