//! Messages as a stream and a sink.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cluster_ipc::Pressure;
use cluster_proto::IntoMessage;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::task::coop;

use crate::driver::tasks::Waiting;
use crate::driver::{Core, Shared};
use crate::error::{RecvError, SendError};
use crate::received::Received;

/// The messages from the primary; it ends when the worker is disconnected. Made by
/// [`Worker::messages`](super::Worker::messages).
#[derive(Debug)]
pub struct Messages {
    shared: Arc<Shared>,
    waiting: Waiting,
}

impl Messages {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waiting: None }
    }
}

impl Stream for Messages {
    type Item = Result<Received, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // A runtime has other tasks, however fast messages come.
        let budget = ready!(coop::poll_proceed(cx));
        let Self { shared, waiting } = &mut *self;
        let inbound = ready!(shared.poll_when(cx, waiting, Core::next_inbound)).transpose();
        budget.made_progress();
        Poll::Ready(inbound.map(|inbound| Ok(Received::new(inbound?, &self.shared))))
    }
}

/// Messages to the primary. What it is fed is gathered, and written when there are 16 KiB of it, or by a
/// flush. It is ready for more as long as no more waits than the channel takes without
/// [pressure](Pressure). Made by [`Worker::sender`](super::Worker::sender).
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
    /// More was sent than the channel takes at once.
    pressed: bool,
    waiting: Waiting,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, pressed: false, waiting: None }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let written = |core: &mut Core| core.is_flushed().then_some(());
        self.shared.poll_when(cx, &mut self.waiting, written)
    }
}

impl<M: IntoMessage> Sink<M> for Sender {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        if self.pressed {
            ready!(self.poll_written(cx));
            self.pressed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, message: M) -> Result<(), SendError> {
        let message = message.into_message()?;
        let pressure = self.shared.feed(|core| core.send(message, None))?;
        self.pressed |= pressure == Pressure::High;
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_written(cx));
        self.pressed = false;
        Poll::Ready(Ok(()))
    }

    /// As a flush: the channel stays open.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Sink::<M>::poll_flush(self, cx)
    }
}
