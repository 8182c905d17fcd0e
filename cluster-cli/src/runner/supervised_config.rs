//! The options of a cluster that keeps its workers, and what was opened for them.

use std::io;

use cluster_primary::Settings;

use crate::args::Run;
use crate::config::{Ready, Resolved};
use crate::http::HttpServer;
use crate::listen::Sockets;
use crate::place;
use crate::systemd::notified::NotifySocket;
use crate::systemd::reader::NotifyReader;

/// What `cluster run` has beside its workers, and `cluster serve` has not.
pub(crate) struct SupervisedConfig {
    /// How options are read again.
    pub(super) args: Run,
    pub(crate) options: Resolved,
    /// Sockets for workers that know no channel.
    pub(super) sockets: Sockets,
    /// Where workers say that they are ready, if they are to say so there.
    pub(super) notify: Option<NotifyReader>,
    /// The status page, until the loop has it.
    pub(super) http: Option<HttpServer>,
}

impl SupervisedConfig {
    pub(crate) fn new(args: Run, options: Resolved, sockets: Sockets) -> io::Result<Self> {
        let notify = match options.reload.ready {
            Ready::Notify => {
                // Workers of another user cannot get into our folder.
                let socket = match &options.privileges.uid {
                    None => NotifySocket::bind(Some(&place::make_folder()?))?,
                    Some(user) => NotifySocket::bind_for(user.id)?,
                };
                Some(NotifyReader::new(socket)?)
            }
            _ => None,
        };
        Ok(Self { args, options, sockets, notify, http: None })
    }

    /// Serves the status page there.
    pub(crate) fn with_http(mut self, http: Option<HttpServer>) -> Self {
        self.http = http;
        self
    }

    /// The primary's settings.
    pub(crate) fn settings(&self) -> Settings {
        self.settings_of(&self.options)
    }

    /// The primary's settings with other options.
    pub(super) fn settings_of(&self, options: &Resolved) -> Settings {
        let mut settings = crate::settings::settings(options, &self.sockets);
        if let Some(notify) = &self.notify {
            notify.admit(options.privileges.uid.as_ref().map(|user| user.id));
            settings.env.push(("NOTIFY_SOCKET".into(), Some(notify.address().to_owned())));
        }
        settings
    }
}
