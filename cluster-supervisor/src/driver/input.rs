//! What a primary's events mean to the supervisor.

use cluster_primary as primary;
use primary::{Event, WorkerError};

use super::Input;
use crate::progress::{LeaveProgress, StopBy, Work};

impl Input {
    /// What an event of the primary means to the supervisor, if anything. (For [`Event::Fork`] that
    /// depends on what forked.)
    pub(super) fn of(event: &Event) -> Option<Self> {
        Some(match *event {
            Event::Online { worker } => Self::Online { worker },
            Event::Listening { worker, .. } => Self::Listening { worker },
            Event::Message { worker, ref message, .. } if *message == "ready" => {
                Self::SaidReady { worker }
            }
            Event::Unresponsive { worker, .. } => Self::Unresponsive { worker },
            Event::Responsive { worker } => Self::Responsive { worker },
            Event::Leaving { worker, progress, .. } => {
                Self::Leaving { worker, progress: leave_progress(progress)? }
            }
            Event::Error {
                worker,
                error: WorkerError::Channel { .. } | WorkerError::LeavesUnread { .. },
                ..
            } => Self::ChannelFailed { worker },
            Event::Disconnect { worker, exited_after_disconnect: meant, .. } => {
                Self::Disconnected { worker, meant }
            }
            Event::Exit { worker, status, exited_after_disconnect: meant, .. } => {
                Self::Exited { worker, status, meant }
            }
            _ => return None,
        })
    }
}

fn leave_progress(progress: primary::LeaveProgress) -> Option<LeaveProgress> {
    Some(match progress {
        primary::LeaveProgress::OutOfRotation => LeaveProgress::OutOfRotation,
        primary::LeaveProgress::Work(work) => LeaveProgress::Work(Work {
            requests: work.requests,
            started: work.started,
            connections: work.connections,
        }),
        primary::LeaveProgress::Stop(by) => LeaveProgress::Stop(match by {
            primary::StopBy::Signal => StopBy::Signal,
            primary::StopBy::Message => StopBy::Message,
            _ => StopBy::Disconnect,
        }),
        primary::LeaveProgress::ServersClosed => LeaveProgress::ServersClosed,
        _ => return None,
    })
}
