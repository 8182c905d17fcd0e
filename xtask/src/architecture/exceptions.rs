//! `architecture-exceptions.toml`: findings that are known, and whose number may only go down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Key};

/// Those of each crate.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exceptions(BTreeMap<String, OfCrate>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OfCrate {
    /// The files of each cycle.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cycles: Vec<BTreeSet<String>>,
    /// By `from -> to`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    dependencies: BTreeMap<String, usize>,
    /// By file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    upward_imports: BTreeMap<String, usize>,
    /// Uses of fields in other files, by type.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    spread_types: BTreeMap<String, usize>,
}

const HEAD: &str = "\
# What architecture.toml forbids and the code still does. `cargo xtask architecture --tighten` lowers these counts
# after a cleanup; they may not grow.

";

impl Exceptions {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    pub(super) fn of_crate(&self, folder: &str) -> OfCrate {
        self.0.get(folder).cloned().unwrap_or_default()
    }

    pub(super) fn has(&self, folder: &str) -> bool {
        self.0.contains_key(folder)
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn set(&mut self, folder: &str, of_crate: OfCrate) {
        if of_crate == OfCrate::default() {
            self.0.remove(folder);
        } else {
            self.0.insert(folder.to_owned(), of_crate);
        }
    }

    pub(super) fn text(&self) -> Result<String, String> {
        let text = toml::to_string_pretty(self).map_err(|error| error.to_string())?;
        Ok([HEAD, &text].concat())
    }
}

impl OfCrate {
    /// Exceptions for all of these findings.
    pub(super) fn recorded(findings: &[Finding], source: &Path) -> Self {
        let mut recorded = Self::default();
        for (key, count) in findings.iter().filter_map(|finding| finding.key(source)) {
            match key {
                Key::Cycle(files) => recorded.cycles.push(files),
                Key::Dependency(name) => *recorded.dependencies.entry(name).or_default() += count,
                Key::Upward(name) => *recorded.upward_imports.entry(name).or_default() += count,
                Key::Spread(name) => *recorded.spread_types.entry(name).or_default() += count,
            }
        }
        recorded.cycles.sort();
        recorded
    }

    /// Whether findings that count as this are excepted, of which there are as many as `now` has.
    pub(super) fn covers(&self, key: &Key, now: &Self) -> bool {
        let covers = |name: &String, of: fn(&Self) -> &BTreeMap<String, usize>| {
            of(now).get(name) <= of(self).get(name)
        };
        match key {
            Key::Cycle(files) => self.cycles.iter().any(|known| files.is_subset(known)),
            Key::Dependency(name) => covers(name, |of| &of.dependencies),
            Key::Upward(name) => covers(name, |of| &of.upward_imports),
            Key::Spread(name) => covers(name, |of| &of.spread_types),
        }
    }

    /// Those of `self` that are still needed.
    pub(super) fn tightened(&self, now: &Self) -> Self {
        let lower = |known: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>| {
            let needed =
                |(name, known): (&String, &usize)| Some((name.clone(), *now.get(name)?.min(known)));
            known.iter().filter_map(needed).collect()
        };
        let known =
            |files: &&BTreeSet<String>| self.cycles.iter().any(|known| files.is_subset(known));
        Self {
            cycles: now.cycles.iter().filter(known).cloned().collect(),
            dependencies: lower(&self.dependencies, &now.dependencies),
            upward_imports: lower(&self.upward_imports, &now.upward_imports),
            spread_types: lower(&self.spread_types, &now.spread_types),
        }
    }

    /// The sums of each kind, with its name.
    pub(super) fn sums(&self) -> [(&'static str, usize); 4] {
        [
            ("files in cycles", self.cycles.iter().map(BTreeSet::len).sum()),
            ("dependencies not allowed", self.dependencies.values().sum()),
            ("upward imports", self.upward_imports.values().sum()),
            ("uses of spread types' fields", self.spread_types.values().sum()),
        ]
    }

    /// The kinds of which `now` has more.
    pub(super) fn grown(&self, now: &Self) -> Vec<String> {
        let sums = self.sums().into_iter().zip(now.sums());
        let grown = sums.filter(|((_, before), (_, now))| now > before);
        grown
            .map(|((kind, before), (_, now))| format!("{kind}: {before} before, {now} now"))
            .collect()
    }
}
