//! What follows from events of the cluster.

use cluster_control::Refusal;
use cluster_primary::{Event, Object, Request, UserMessage, Value, WorkerId};
use cluster_supervisor::driver::{ClusterEvent, Notice, Ready};

use super::base::Runner;
use crate::report::{after_ready, left_by_reload};

/// The refusal of a request, as nothing here answers requests.
const ANSWERS_NO_REQUESTS: &str = "this primary is the program cluster, which does not answer requests; a \
     client of its control socket can, or a primary of your own";

const NOT_SHOWN: &str = "no client of the control socket was shown this request: it is not JSON, and has more \
    than 16 MiB or 131,072 values, or cannot be decoded";

impl Runner {
    pub(super) fn happened(&mut self, happening: ClusterEvent) {
        match happening {
            ClusterEvent::Event(event) => {
                let primary = self.cluster.primary();
                self.report.event(primary, &event);
                let control = self.control.as_mut();
                let is_shown = control.is_some_and(|(control, _)| control.event(primary, &event));
                if let Event::Message { worker, message, .. } = &event
                    && !self.hears(message)
                {
                    self.mention_unheard(*worker, message);
                }
                if !is_shown && let Event::Request { request, .. } = event {
                    self.refuse(request);
                }
                self.learn(event);
            }
            ClusterEvent::Notice(notice) => {
                if matches!(notice, Notice::Draining { .. } | Notice::Ending { .. }) {
                    // /readyz says so before the log does.
                    self.show();
                }
                let config = self.supervisor().config();
                self.report.notice(&notice, config, self.causes.online());
                if let Some(control) = self.control_mut() {
                    control.notice(&notice);
                }
                self.follow(notice);
            }
            _ => {}
        }
    }

    /// Whether a client of the control API has subscribed to messages.
    fn has_listener(&self) -> bool {
        self.control.as_ref().is_some_and(|(control, _)| control.hears_messages())
    }

    /// Whether a message has an effect, or a reader.
    fn hears(&self, message: &UserMessage) -> bool {
        let config = self.supervisor().config();
        let is_sign = config.ready == Ready::Message && *message == "ready";
        self.has_listener() || is_sign
    }

    /// Says, once for each program, that its messages are not read. (The program that drives a `cluster
    /// serve` knows whether it listens.)
    fn mention_unheard(&mut self, worker: WorkerId, message: &UserMessage) {
        if !self.is_supervised() {
            return;
        }
        let is_ready = *message == "ready";
        let program = &self.cluster.primary().settings().exec;
        if self.unheard.is_new(program, is_ready) {
            self.report.unheard(worker, is_ready);
        }
    }

    /// No client of the control API was shown that request, so none answers it.
    fn refuse(&mut self, request: Request) {
        let why = if self.has_listener() { NOT_SHOWN } else { ANSWERS_NO_REQUESTS };
        // A worker that has gone waits for nothing.
        let _ = self.primary_mut().refuse(request, why);
    }

    /// What may explain a death to come. A descriptor that came with a message is of no use here.
    fn learn(&mut self, event: Event) {
        let Some(event) = self.tell_script(event) else { return };
        self.causes.learn(&event, self.cluster.primary().settings());
        // A client of the control API gets the message alone.
        if let Event::Message { worker, handle: Some(handle), .. }
        | Event::Request { worker, handle: Some(handle), .. } = event
        {
            self.primary_mut().refuse_handle(worker, handle);
        }
    }

    /// Does what follows from what the supervisor has decided.
    fn follow(&mut self, notice: Notice) {
        self.manager.follow(&notice);
        match notice {
            Notice::Reloaded { generation, replaced } => {
                self.reloads.succeeded();
                let frozen: Vec<_> =
                    self.reloads.frozen.iter().map(|option| (*option).into()).collect();
                let answer = Object::new()
                    .with("generation", generation)
                    .with("replaced", replaced)
                    .with("frozen", frozen);
                self.answer_reloads(|| Ok(answer.clone().into()));
            }
            Notice::ReloadAborted { slot, reason, was_ready, replaced, kept, .. } => {
                self.go_back();
                let reason = format!("{reason}{}", after_ready(was_ready));
                self.reload_failed(format!(
                    "the replacement worker for slot {slot} failed: {reason}"
                ));
                let why = format!(
                    "the reload was aborted: the replacement worker for slot {slot} failed: {reason}. {}; \
                     its output is in the cluster's log",
                    left_by_reload(replaced, kept)
                );
                self.answer_reloads(|| Err(Refusal::new("ERR_RELOAD_ABORTED", &why)));
            }
            Notice::Replacing { death, .. } => {
                if let Some(worker) = death.worker {
                    self.causes.forget(worker);
                }
            }
            Notice::GaveUp { deaths } => self.causes.gave_up(&deaths, self.has_channel()),
            Notice::Ending { .. } => {
                if let Some(control) = self.control_mut() {
                    control.end_forks();
                }
                self.answer_reloads(|| Err(Refusal::new("ERR_ENDING", "the cluster is stopping")));
            }
            _ => {}
        }
    }

    pub(super) fn answer_reloads(&mut self, answer: impl Fn() -> Result<Value, Refusal>) {
        let waiting = self.reloads.take_waiting();
        if let Some(control) = self.control_mut() {
            waiting.into_iter().for_each(|command| control.answer(command, answer()));
        }
    }

    /// Restores the settings with which the running workers were started.
    pub(super) fn go_back(&mut self) {
        let Some((settings, options)) = self.reloads.before.take() else { return };
        self.primary_mut().setup(|set| *set = settings);
        crate::settings::schedule(&options);
        self.cluster.supervisor_mut().configure(crate::settings::config(&options));
        if let Some(kept) = &mut self.kept {
            kept.options = options;
            if let Some(notify) = &kept.notify {
                notify.admit(kept.options.privileges.uid.as_ref().map(|user| user.id));
            }
        }
    }
}
