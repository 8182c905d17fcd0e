//! What can be set.

use super::mono::Mono;

/// Settings of a [`Machine`](super::Machine).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Whether the process exits at once, with 0, when the channel closes unasked: a dead primary
    /// leaves no orphan. Default: true, as in Node.
    pub exit_when_orphaned: bool,
    /// How many connections may wait in one server to be taken; more are refused, and the primary
    /// gives them to another worker. Default: 1024. (A Node primary never sends a second one
    /// before the first is answered.)
    pub queue_limit: usize,
    /// How long the primary may take to acknowledge that this worker exits voluntarily, before
    /// the channel is closed all the same. Default: forever, as in Node.
    pub answer_timeout: Option<Mono>,
}

impl Default for Config {
    fn default() -> Self {
        Self { exit_when_orphaned: true, queue_limit: 1024, answer_timeout: None }
    }
}
