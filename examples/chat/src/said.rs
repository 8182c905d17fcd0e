//! What is said.

use serde::{Deserialize, Serialize};

/// What goes between primary and workers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) who: String,
    pub(crate) what: String,
    /// The worker whose client said it.
    pub(crate) by: u32,
}
