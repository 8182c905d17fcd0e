//! JSON for people.

use cluster_primary::proto::Json;
use cluster_primary::{Value, printable};

/// JSON on one line, which a terminal can be shown.
pub(crate) fn line(value: &Value) -> String {
    printable::json(&Json::text(value).unwrap_or_default()).into_owned()
}
