//! `architecture.toml`: which module may use which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The file's own module among those of its folder: `codec/mod.rs` or `codec.rs` of `codec/`.
pub(super) const OWN: &str = "self";

/// Layers of modules, by the folder that they are in: `cluster-proto`, `cluster-proto/codec`.
pub(super) struct Rules(BTreeMap<String, Folder>);

/// The modules of one folder.
#[derive(Default)]
pub(super) struct Folder {
    modules: BTreeMap<String, Place>,
}

struct Place {
    layer: usize,
    /// Modules of one pair may use each other.
    pair: usize,
    /// If it may not use all modules of the layers before.
    only: Option<BTreeSet<String>>,
}

/// Why a module may not use another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// They are in one layer, or the other is in a later one.
    Order,
    /// The module's line lists what it may use.
    NotListed,
}

impl Rules {
    /// # Errors
    /// If it is not TOML of that form, names a module twice, or lets one use what is not before it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let folders: BTreeMap<String, Vec<String>> =
            toml::from_str(text).map_err(|error| error.to_string())?;
        let folders = folders.into_iter().map(|(name, layers)| {
            let folder = Folder::parse(&layers).map_err(|error| format!("{name}: {error}"))?;
            Ok::<_, String>((name, folder))
        });
        Ok(Self(folders.collect::<Result<_, _>>()?))
    }

    pub(super) fn folder(&self, name: &str) -> Option<&Folder> {
        self.0.get(name)
    }

    pub(super) fn folders(&self) -> impl Iterator<Item = (&str, &Folder)> {
        self.0.iter().map(|(name, folder)| (name.as_str(), folder))
    }
}

impl Folder {
    fn parse(layers: &[String]) -> Result<Self, String> {
        let mut folder = Self::default();
        for (layer, line) in layers.iter().enumerate() {
            let (names, only) = match line.split_once(':') {
                Some((names, only)) => (names, Some(only)),
                None => (line.as_str(), None),
            };
            let only: Option<BTreeSet<_>> =
                only.map(|only| only.split_whitespace().map(str::to_owned).collect());
            for used in only.iter().flatten() {
                if !folder.modules.contains_key(used) {
                    return Err(format!(
                        "`{line}` lets modules use `{used}`, which is not in a line before it"
                    ));
                }
            }
            for names in names.split_whitespace() {
                let names: Vec<_> = names.split('+').collect();
                if names.len() > 2 {
                    return Err(format!("`{line}`: no more than two modules may use each other"));
                }
                let pair = folder.modules.len();
                for name in names {
                    let place = Place { layer, pair, only: only.clone() };
                    if folder.modules.insert(name.to_owned(), place).is_some() {
                        return Err(format!("`{name}` stands there twice"));
                    }
                }
            }
        }
        Ok(folder)
    }

    pub(super) fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    pub(super) fn has(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// Whether one module may use another. The folder's own module is above all others unless it is listed.
    pub(super) fn check(&self, from: &str, to: &str) -> Result<(), Denied> {
        let Some(from) = self.modules.get(from) else {
            return if from == OWN { Ok(()) } else { Err(Denied::Order) };
        };
        let place = self.modules.get(to).ok_or(Denied::Order)?;
        if from.pair == place.pair {
            Ok(())
        } else if place.layer >= from.layer {
            Err(Denied::Order)
        } else if from.only.as_ref().is_some_and(|only| !only.contains(to)) {
            Err(Denied::NotListed)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Order => "only modules of the lines before its own",
            Self::NotListed => "only the modules that its line lists",
        })
    }
}
