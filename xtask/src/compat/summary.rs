//! What came of all the plays.

use std::collections::BTreeMap;
use std::fmt;

use super::cast::{Pair, Policy};
use crate::node::Node;

/// How many traces were equal, and how many were not.
#[derive(Default)]
pub(crate) struct Summary {
    rows: BTreeMap<(Pair, String, Policy), Row>,
    /// How often a declared difference showed.
    declared: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Row {
    equal: u64,
    /// Equal but for declared differences.
    as_declared: u64,
    different: u64,
}

impl Summary {
    pub(super) fn count(
        &mut self,
        node: &Node,
        policy: Policy,
        pair: Pair,
        outcome: Result<Vec<&'static str>, String>,
    ) {
        let row = self.rows.entry((pair, node.version.clone(), policy)).or_default();
        match outcome {
            Ok(declared) if declared.is_empty() => row.equal += 1,
            Ok(declared) => {
                row.as_declared += 1;
                for id in declared {
                    *self.declared.entry(id).or_default() += 1;
                }
            }
            Err(_) => row.different += 1,
        }
    }

    /// Traces that were as they should be.
    pub(crate) fn passed(&self) -> u64 {
        self.rows.values().map(|row| row.equal + row.as_declared).sum()
    }

    /// Traces that were not.
    pub(crate) fn failed(&self) -> u64 {
        self.rows.values().map(|row| row.different).sum()
    }
}

/// A table in Markdown, and a line that sums it up.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| primary-worker | Node | policy | equal | as declared | different |")?;
        writeln!(f, "| --- | --- | --- | ---: | ---: | ---: |")?;
        for ((pair, version, policy), row) in &self.rows {
            let Row { equal, as_declared, different } = row;
            writeln!(
                f,
                "| {pair} | {version} | {policy} | {equal} | {as_declared} | {different} |"
            )?;
        }
        writeln!(f)?;
        for (id, times) in &self.declared {
            writeln!(f, "declared difference `{id}`: {times} times")?;
        }
        write!(f, "compat: {} traces as expected, {} not", self.passed(), self.failed())
    }
}
