//! Which file of a crate depends on which, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::mentions::{self, Mention, What};
use super::names::{Meaning, Resolved, Through};
use super::source::{FileId, ModuleId, Tree};
use super::types::{Openness, TypeId, Types};

#[derive(Default)]
pub(super) struct Links {
    /// What the first file mentions of the second, and the lines.
    pub(super) uses: BTreeMap<(FileId, FileId), BTreeMap<String, usize>>,
    pub(super) upward: Vec<Upward>,
    /// The lines at which files use fields of types that other files define.
    pub(super) spread: BTreeMap<TypeId, BTreeMap<FileId, BTreeSet<usize>>>,
    pub(super) unresolved: Vec<Unresolved>,
}

/// An item that is imported through a module that only imports it itself.
pub(super) struct Upward {
    pub(super) file: FileId,
    pub(super) line: usize,
    pub(super) path: String,
    /// The module that the path leads through.
    pub(super) by: String,
    /// The path that leads to the item directly.
    pub(super) instead: String,
}

/// A path of the crate that leads nowhere, as far as can be told.
pub(super) struct Unresolved {
    pub(super) file: FileId,
    pub(super) line: usize,
    pub(super) path: String,
}

impl Links {
    pub(super) fn of(tree: &Tree) -> Self {
        let types = Types::of(tree);
        let mut links = Self::default();
        for file in &tree.files {
            for mention in mentions::of_file(tree, file) {
                links.add(tree, &types, mention);
            }
        }
        links
    }

    fn add(&mut self, tree: &Tree, types: &Types, Mention { module, line, what }: Mention) {
        let file = tree.file_of(module);
        match what {
            What::Import { path, reexport } => {
                let Some(found) = tree.resolve(module, &path) else {
                    return self.not_resolved(file, line, &path);
                };
                let to = match &found.meaning {
                    Meaning::Item(of, _) => Some(*of),
                    _ => None,
                };
                self.judge(tree, module, line, &path, &found);
                // A module that re-exports what is within it is a facade, and does not use it.
                if !to.is_some_and(|to| reexport && tree.contains(module, to)) {
                    self.depend(tree, types, file, line, &found);
                }
            }
            What::Path(path) => {
                let own = path
                    .first()
                    .is_some_and(|name| matches!(name.as_str(), "crate" | "self" | "super"));
                match tree.resolve(module, &path) {
                    Some(found) => {
                        // What it has imported by name is judged where it is imported.
                        let by_name = |through: &&Through| {
                            tree.file_of(through.module) == file && !through.glob
                        };
                        if found.through.first().filter(by_name).is_none() {
                            self.judge(tree, module, line, &path, &found);
                        }
                        self.depend(tree, types, file, line, &found);
                    }
                    None if own => self.not_resolved(file, line, &path),
                    None => {}
                }
            }
            What::Method { of, method } => {
                if let Some(of) = Types::named(tree, module, &of) {
                    self.call(tree, types, file, line, &of, &method);
                }
            }
            What::Field { of, field, own, method } => {
                let Some(of) = Types::named(tree, module, &of) else { return };
                // Fields that are shared by `pub(crate)` are open to others, but not to methods of the type elsewhere.
                let closed = if own { Openness::Shared } else { Openness::Private };
                if types.openness(&of, &field).is_some_and(|open| open <= closed) {
                    self.open(tree, file, line, &of);
                }
                if let Some(method) = method
                    && let Some(of) = types.field(tree, &of, &field)
                {
                    self.call(tree, types, file, line, &of, &method);
                }
            }
            What::Fields { of, fields } => {
                let Some(of) = Types::named(tree, module, &of) else { return };
                let private =
                    |field: &String| types.openness(&of, field) == Some(Openness::Private);
                if fields.iter().any(private) {
                    self.open(tree, file, line, &of);
                }
            }
        }
    }

    fn link(&mut self, from: FileId, to: FileId, line: usize, what: String) {
        if from != to {
            self.uses.entry((from, to)).or_default().entry(what).or_insert(line);
        }
    }

    /// Of a resolved path.
    fn depend(&mut self, tree: &Tree, types: &Types, file: FileId, line: usize, found: &Resolved) {
        let Meaning::Item(module, name) = &found.meaning else { return };
        let to = tree.file_of(*module);
        self.link(file, to, line, name.clone());
        if let Some(method) = found.rest.first() {
            let of = (*module, name.clone());
            if types.method(&of, method).is_some() {
                self.call(tree, types, file, line, &of, method);
            }
        }
    }

    fn call(
        &mut self,
        tree: &Tree,
        types: &Types,
        file: FileId,
        line: usize,
        of: &TypeId,
        method: &str,
    ) {
        let what = format!("{}::{method}", of.1);
        match types.method(of, method) {
            Some(files) if files.contains(&file) => {}
            Some(files) => files.iter().for_each(|to| self.link(file, *to, line, what.clone())),
            // A trait's, or one that is derived.
            None => self.link(file, tree.file_of(of.0), line, what),
        }
    }

    fn open(&mut self, tree: &Tree, file: FileId, line: usize, of: &TypeId) {
        if tree.file_of(of.0) != file {
            let files = self.spread.entry(of.clone()).or_default();
            files.entry(file).or_default().insert(line);
        }
    }

    fn not_resolved(&mut self, file: FileId, line: usize, path: &[String]) {
        self.unresolved.push(Unresolved { file, line, path: path.join("::") });
    }

    /// Whether a path leads upward: to a module around its own one that has the item from elsewhere.
    fn judge(
        &mut self,
        tree: &Tree,
        module: ModuleId,
        line: usize,
        path: &[String],
        found: &Resolved,
    ) {
        let file = tree.file_of(module);
        let outside = |through: &&Through| tree.file_of(through.module) != file;
        let around = |through: &Through| tree.contains(through.module, module);
        let Some(through) = found.through.iter().find(outside).filter(|through| around(through))
        else {
            return;
        };
        // The first module on the way that is not around this one may hide what is within it.
        let facade = found.through.iter().filter(outside).find(|through| !around(through));
        let parent = tree.modules[module].parent.map(|parent| &tree.modules[parent].name[..]);
        let inside = |module: ModuleId, name: Option<&String>| {
            let path = &tree.modules[module].name[..];
            let sibling = parent.filter(|parent| !parent.is_empty());
            let (root, path) = match sibling.and_then(|parent| path.strip_prefix(parent)) {
                Some(below) if !below.is_empty() => ("super", below),
                _ => ("crate", path),
            };
            let path = path.iter().chain(name).chain(&found.rest).map(String::as_str);
            [root].into_iter().chain(path).collect::<Vec<_>>().join("::")
        };
        let instead = match &found.meaning {
            Meaning::Item(of, name) => {
                inside(facade.map_or(*of, |facade| facade.module), Some(name))
            }
            Meaning::Module(of) => inside(*of, None),
            Meaning::Foreign(path) => path.join("::"),
        };
        let by = match tree.modules[through.module].name.as_slice() {
            [] => "the root of the crate".to_owned(),
            name => format!("`{}`", name.join("::")),
        };
        self.upward.push(Upward { file, line, path: path.join("::"), by, instead });
    }
}
