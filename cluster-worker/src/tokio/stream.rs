//! Connections that a disconnect waits for, as tokio reads and writes them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::driver::tasks::Unbegun;
use crate::tracked::Tracked;

impl<S> Tracked<S> {
    fn noted<T>(&mut self, done: Poll<io::Result<T>>, read: bool) -> Poll<io::Result<T>> {
        if matches!(done, Poll::Ready(Ok(_))) {
            Unbegun::note(&mut self.unbegun, read);
        }
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tracked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut **self).poll_read(cx, buf);
        self.noted(done, true)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tracked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut **self).poll_write(cx, buf);
        self.noted(done, false)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut **self).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut **self).poll_write_vectored(cx, bufs);
        self.noted(done, false)
    }

    fn is_write_vectored(&self) -> bool {
        (**self).is_write_vectored()
    }
}
