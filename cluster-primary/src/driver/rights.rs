//! In what a worker's rights differ from its primary's.

use serde::{Deserialize, Serialize};

use crate::settings::Settings;

/// The user, the groups and the capabilities that a worker was started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rights {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Option<Vec<u32>>,
    pub(super) keep_capabilities: bool,
}

impl Rights {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            uid: settings.uid,
            gid: settings.gid,
            groups: settings.groups.clone(),
            keep_capabilities: settings.keep_capabilities,
        }
    }

    /// Whether such a worker is of another user, or in other groups, than its primary.
    pub(super) fn differ(&self) -> bool {
        self.uid.is_some() || self.gid.is_some() || self.groups.is_some()
    }
}
