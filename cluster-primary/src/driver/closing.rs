//! Closes servers' sockets.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use cluster_sched::Mono;
use mio::unix::SourceFd;

use super::base::Primary;
use super::binder::Purpose;
use super::kernel::Group;
use super::listener::{CLOSE_PAUSE, Closing};
use super::tokens::Source;
use crate::id::ServerId;
use crate::machine::Input;

impl Primary {
    /// Closes the sockets of servers that waited for descriptors.
    pub(super) fn close_due(&mut self, now: Mono) {
        let is_due = |closing: &Closing| closing.again <= now;
        while let Some((&server, _)) = self.closing.iter().find(|(_, closing)| is_due(closing)) {
            self.go_on_closing(now, server);
        }
    }

    /// Closes a server's sockets once the connections that clients already consider established are accepted. If
    /// descriptors are short: each hand-off in flight frees one when it arrives.
    pub(super) fn go_on_closing(&mut self, now: Mono, server: ServerId) {
        let Some(mut closing) = self.closing.remove(&server) else { return };
        let mut sockets = self.groups.get(&server).map_or_else(Vec::new, Group::sockets);
        sockets.extend(self.listeners.get(&server).map(|listener| Arc::clone(&listener.fd)));
        for socket in sockets {
            let (accepted, refused) = self.accept_from(now, server, &socket, closing.most);
            closing.most -= accepted;
            // Without workers there is nowhere to send them.
            if refused && now < closing.until && !self.machine.is_empty() {
                closing.again = now + CLOSE_PAUSE;
                self.closing.insert(server, closing);
                return;
            }
        }
        self.groups.remove(&server);
        self.close_listener(server);
        self.tell_at(now, Input::Closed { server });
    }

    fn close_listener(&mut self, server: ServerId) {
        let Some(listener) = self.listeners.remove(&server) else { return };
        if !listener.shared {
            let _ = self.registry().deregister(&mut SourceFd(&listener.fd.as_raw_fd()));
            self.tokens.forget(Source::Listener(server));
            self.pending.remove(&Source::Listener(server));
            // This server may have been the one that could not accept; others that cannot report it themselves.
            self.shortage.set_now(None);
        }
        match (listener.file, listener.rights) {
            (Some(file), Some(rights)) => {
                self.delegate(Purpose::Remove { files: vec![file] }, rights, None);
            }
            (Some(file), None) => {
                // Someone else may have removed it.
                let _ = file.remove();
            }
            (None, _) => {}
        }
    }
}
