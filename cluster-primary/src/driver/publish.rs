//! Turns the machine's events into public ones: descriptors take the place of ids.

use std::sync::Arc;

use cluster_ipc::Counted;

use super::base::Primary;
use crate::event::{Event, EventHandle};
use crate::id::WorkerId;
use crate::machine::{self, Config, Handle, Input};

impl Primary {
    /// Queues an event for the user.
    pub(super) fn publish(&mut self, event: machine::Event) {
        let event = match event {
            machine::Event::Plain(event) => event,
            machine::Event::Message { worker, message, handle } => {
                let handle = self.take_received(worker, handle);
                Event::Message { worker, message, handle }
            }
            machine::Event::Request { worker, request, body, handle } => {
                let handle = self.take_received(worker, handle);
                Event::Request { worker, request, body, handle }
            }
            machine::Event::Taken { worker, conn } => {
                Event::Taken { worker, client: self.client(conn) }
            }
            machine::Event::Setup { config } => {
                self.take_config(config);
                Event::Setup { settings: self.shared_settings() }
            }
        };
        if let Event::Listening { worker, .. } = event {
            self.look_for_node(worker);
        }
        self.told.add(event);
    }

    /// Placement and policy come from the machine: they may be frozen.
    pub(super) fn take_config(&mut self, config: Config) {
        let Config { placement, policy, custom_policy, .. } = config;
        let now = &self.settings;
        if (now.placement, now.policy, &now.custom_policy) != (placement, policy, &custom_policy) {
            let settings = Arc::make_mut(&mut self.settings);
            (settings.placement, settings.policy) = (placement, policy);
            settings.custom_policy = custom_policy;
        }
    }

    /// The descriptor of a message; it counts as waiting until the event is taken.
    fn take_received(&mut self, worker: WorkerId, handle: Option<Handle>) -> Option<EventHandle> {
        let Handle { id, kind, key } = handle?;
        let handle = self.handles.move_into_event(id)?;
        let counted = key.clone().map(|key| self.counted(worker, key));
        Some(EventHandle { kind, handle, key, counted })
    }

    /// A token that tells a worker, when dropped, that one of its connections is closed.
    pub(super) fn counted(&self, worker: WorkerId, key: String) -> Counted {
        let calls = Arc::clone(&self.calls);
        Counted::new(move || {
            let call = move |primary: &mut Primary| {
                // The loop that runs this call performs the outputs.
                let now = primary.clock.now();
                primary.machine.handle_input(now, Input::SocketClosed { worker, key });
            };
            // A primary that cannot be woken finds it when it next wakes up.
            let _ = calls.push(Box::new(call));
        })
    }
}
