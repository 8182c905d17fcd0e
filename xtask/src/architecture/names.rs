//! What a path of a module means: the compiler's resolution of names, as far as modules go.

use super::source::{ModuleId, Tree};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// An item, by the module that defines it.
    Item(ModuleId, String),
    Module(ModuleId),
    /// Another crate's, or a name that no module defines: a variable, a type parameter.
    Foreign(Vec<String>),
}

#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) meaning: Meaning,
    /// What follows the item: a variant, an associated function.
    pub(super) rest: Vec<String>,
    /// The imports that it goes through.
    pub(super) through: Vec<Through>,
}

/// An import on the way to an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct Through {
    pub(super) module: ModuleId,
    /// By `*`.
    pub(super) glob: bool,
}

/// The imports that are being followed: one that leads to itself is another crate's name.
type Followed = Vec<(ModuleId, Vec<String>)>;

impl Tree {
    /// What `path` means in a module; none if it is a path of this crate that leads nowhere.
    pub(super) fn resolve(&self, from: ModuleId, path: &[String]) -> Option<Resolved> {
        self.path(from, path, &[], &mut Vec::new())
    }

    fn path(
        &self,
        from: ModuleId,
        path: &[String],
        through: &[Through],
        followed: &mut Followed,
    ) -> Option<Resolved> {
        let (mut at, mut rest, mut relative) = (from, path, true);
        while let Some((first, others)) = rest.split_first() {
            at = match first.as_str() {
                "crate" => 0,
                "self" => at,
                "super" => self.modules[at].parent?,
                _ => break,
            };
            (rest, relative) = (others, false);
        }
        let through = through.to_vec();
        if rest.is_empty() {
            return Some(Resolved { meaning: Meaning::Module(at), rest: Vec::new(), through });
        }
        let found = self.below(at, rest, &through, followed);
        let foreign = Meaning::Foreign(path.to_vec());
        let foreign = || Resolved { meaning: foreign, rest: Vec::new(), through };
        found.or_else(|| relative.then(foreign))
    }

    /// `path`, whose first name is one of `module`'s.
    fn below(
        &self,
        module: ModuleId,
        path: &[String],
        through: &[Through],
        followed: &mut Followed,
    ) -> Option<Resolved> {
        let (first, rest) = path.split_first()?;
        let item = || {
            let meaning = Meaning::Item(module, first.clone());
            let defined = self.modules[module].items.contains(first);
            let (rest, through) = (rest.to_vec(), through.to_vec());
            defined.then_some(Resolved { meaning, rest, through })
        };
        // A module and a function of one name are told apart by what follows.
        if rest.is_empty() {
            item()
                .or_else(|| self.imported(module, first, rest, through, followed))
                .or_else(|| self.child(module, first, rest, through, followed))
        } else {
            self.child(module, first, rest, through, followed)
                .or_else(item)
                .or_else(|| self.imported(module, first, rest, through, followed))
        }
        .or_else(|| self.by_glob(module, path, through, followed))
    }

    fn child(
        &self,
        module: ModuleId,
        name: &str,
        rest: &[String],
        through: &[Through],
        followed: &mut Followed,
    ) -> Option<Resolved> {
        let children = self.modules[module].children.get(name)?;
        children.iter().find_map(|child| match rest {
            [] => Some(Resolved {
                meaning: Meaning::Module(*child),
                rest: Vec::new(),
                through: through.to_vec(),
            }),
            rest => self.below(*child, rest, through, followed),
        })
    }

    fn imported(
        &self,
        module: ModuleId,
        name: &str,
        rest: &[String],
        through: &[Through],
        followed: &mut Followed,
    ) -> Option<Resolved> {
        let through = [through, &[Through { module, glob: false }]].concat();
        self.modules[module].imports.get(name)?.iter().find_map(|import| {
            let step = (module, import.clone());
            if followed.contains(&step) {
                return None;
            }
            followed.push(step);
            let found = self.path(module, &[import, rest].concat(), &through, followed);
            followed.pop();
            found
        })
    }

    fn by_glob(
        &self,
        module: ModuleId,
        path: &[String],
        through: &[Through],
        followed: &mut Followed,
    ) -> Option<Resolved> {
        let through = [through, &[Through { module, glob: true }]].concat();
        self.modules[module].globs.iter().find_map(|glob| {
            let step = (module, glob.clone());
            if followed.contains(&step) {
                return None;
            }
            followed.push(step);
            let whole = self.path(module, glob, &[], followed);
            let found = match whole.map(|whole| whole.meaning) {
                Some(Meaning::Module(whole)) => self.below(whole, path, &through, followed),
                _ => None,
            };
            followed.pop();
            found.filter(|found| !matches!(found.meaning, Meaning::Foreign(_)))
        })
    }
}
