//! The modules of a crate, as its files declare them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{ForeignItem, ImplItemFn, Item, ItemFn, ItemMod, ItemUse, UseTree, Visibility};

use super::attributes::{is_test_only, path};
use super::tokens;

/// The text of a file, by its path from the root of the workspace.
pub(super) type Read<'a> = dyn Fn(&Path) -> Option<String> + 'a;

/// Index of a file in [`Tree::files`].
pub(super) type FileId = usize;

/// Index of a module in [`Tree::modules`].
pub(super) type ModuleId = usize;

/// A crate. Code that exists in tests only is not part of it: tests may use anything.
pub(super) struct Tree {
    pub(super) files: Vec<File>,
    pub(super) modules: Vec<Module>,
}

pub(super) struct File {
    /// From the root of the workspace.
    pub(super) path: PathBuf,
    /// `["codec", "json"]`; empty for the root of the crate.
    pub(super) name: Vec<String>,
    pub(super) module: ModuleId,
    pub(super) syntax: syn::File,
}

/// A file's module, or one that is written out within a file.
pub(super) struct Module {
    pub(super) file: FileId,
    pub(super) parent: Option<ModuleId>,
    pub(super) name: Vec<String>,
    /// Several of one name, if they are for different systems.
    pub(super) children: BTreeMap<String, Vec<ModuleId>>,
    pub(super) items: BTreeSet<String>,
    pub(super) imports: BTreeMap<String, Vec<Vec<String>>>,
    pub(super) globs: Vec<Vec<String>>,
}

impl Tree {
    /// # Errors
    /// If a file is missing, or is not Rust.
    pub(super) fn read(folder: &str, read: &Read<'_>) -> Result<Self, String> {
        let source = Path::new(folder).join("src");
        let roots = ["lib.rs", "main.rs"].map(|name| source.join(name));
        let root = roots.iter().find(|path| read(path).is_some());
        let root =
            root.ok_or_else(|| format!("{folder} has neither src/lib.rs nor src/main.rs"))?;
        let mut tree = Self { files: Vec::new(), modules: Vec::new() };
        tree.add_file(root.clone(), source, Vec::new(), None, read)?;
        Ok(tree)
    }

    /// Reads a file, and those whose modules it declares, which are in `folder`.
    fn add_file(
        &mut self,
        path: PathBuf,
        folder: PathBuf,
        name: Vec<String>,
        parent: Option<ModuleId>,
        read: &Read<'_>,
    ) -> Result<ModuleId, String> {
        let shown = path.display();
        let text = read(&path).ok_or_else(|| format!("{shown}: cannot be read"))?;
        let syntax = syn::parse_file(&text)
            .map_err(|error| format!("{shown}:{}: {error}", error.span().start().line))?;
        let items = syntax.items.clone();
        let (file, module) = (self.files.len(), self.modules.len());
        self.modules.push(Module::new(file, parent, name.clone()));
        self.files.push(File { path, name, module, syntax });
        self.add_items(&items, module, &folder, read)?;
        Ok(module)
    }

    fn add_items(
        &mut self,
        items: &[Item],
        module: ModuleId,
        folder: &Path,
        read: &Read<'_>,
    ) -> Result<(), String> {
        for item in items {
            match item {
                Item::Mod(item) if !is_test_only(&item.attrs) => {
                    self.add_module(item, module, folder, read)?;
                }
                Item::Use(item) if !is_test_only(&item.attrs) => {
                    self.modules[module].import(&item.tree);
                }
                _ => {
                    self.modules[module].define(item);
                    let mut inner = Inner::default();
                    inner.visit_item(item);
                    inner.0.iter().for_each(|tree| self.modules[module].import(tree));
                }
            }
        }
        Ok(())
    }

    fn add_module(
        &mut self,
        item: &ItemMod,
        parent: ModuleId,
        folder: &Path,
        read: &Read<'_>,
    ) -> Result<(), String> {
        let ident = item.ident.to_string();
        let name = [self.modules[parent].name.clone(), vec![ident.clone()]].concat();
        let below = folder.join(&ident);
        let module = if let Some((_, items)) = &item.content {
            let module = self.modules.len();
            self.modules.push(Module::new(self.modules[parent].file, Some(parent), name));
            self.add_items(items, module, &below, read)?;
            module
        } else if let Some(path) = path(&item.attrs) {
            let declaring = &self.files[self.modules[parent].file].path;
            let path = declaring.parent().unwrap_or(Path::new("")).join(path);
            self.add_file(path, below, name, Some(parent), read)?
        } else {
            let flat = folder.join(format!("{ident}.rs"));
            let path = if read(&flat).is_some() { flat } else { below.join("mod.rs") };
            if self.files.iter().any(|file| file.path == path) {
                // Declared before, with another visibility under another condition.
                return Ok(());
            }
            self.add_file(path, below, name, Some(parent), read)?
        };
        self.modules[parent].children.entry(ident).or_default().push(module);
        Ok(())
    }

    /// Whether `upper` is `lower`, or one of the modules that it is in.
    pub(super) fn contains(&self, upper: ModuleId, lower: ModuleId) -> bool {
        let mut at = Some(lower);
        while let Some(module) = at {
            if module == upper {
                return true;
            }
            at = self.modules[module].parent;
        }
        false
    }

    pub(super) fn file_of(&self, module: ModuleId) -> FileId {
        self.modules[module].file
    }
}

impl Module {
    fn new(file: FileId, parent: Option<ModuleId>, name: Vec<String>) -> Self {
        let (children, items, imports, globs) = <_>::default();
        Self { file, parent, name, children, items, imports, globs }
    }

    fn import(&mut self, tree: &UseTree) {
        for Import { path, name, .. } in imports(tree) {
            match name {
                Some(name) => self.imports.entry(name).or_default().push(path),
                None => self.globs.push(path),
            }
        }
    }

    fn define(&mut self, item: &Item) {
        let (attributes, name) = match item {
            Item::Const(item) => (&item.attrs, &item.ident),
            Item::Enum(item) => (&item.attrs, &item.ident),
            Item::Fn(item) => (&item.attrs, &item.sig.ident),
            Item::Static(item) => (&item.attrs, &item.ident),
            Item::Struct(item) => (&item.attrs, &item.ident),
            Item::Trait(item) => (&item.attrs, &item.ident),
            Item::TraitAlias(item) => (&item.attrs, &item.ident),
            Item::Type(item) => (&item.attrs, &item.ident),
            Item::Union(item) => (&item.attrs, &item.ident),
            Item::Macro(item) => {
                self.items.extend(item.ident.as_ref().map(ToString::to_string));
                // Those of a macro's rules are there once the macro is used, which is most often at once.
                return self.items.extend(tokens::defined(item.mac.tokens.clone()));
            }
            Item::ForeignMod(item) => {
                let names = item.items.iter().filter_map(|item| match item {
                    ForeignItem::Fn(item) => Some(item.sig.ident.to_string()),
                    ForeignItem::Static(item) => Some(item.ident.to_string()),
                    _ => None,
                });
                return self.items.extend(names);
            }
            _ => return,
        };
        if !is_test_only(attributes) {
            self.items.insert(name.to_string());
        }
    }
}

/// The imports within functions. They count as their module's: that is less exact than the compiler, and loses none.
#[derive(Default)]
struct Inner(Vec<UseTree>);

impl<'ast> Visit<'ast> for Inner {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_test_only(&item.attrs) {
            self.0.push(item.tree.clone());
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test_only(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        if !is_test_only(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}
}

/// One name of a `use`; all names, if it has none.
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) line: usize,
}

pub(super) fn imports(tree: &UseTree) -> Vec<Import> {
    let mut imports = Vec::new();
    flatten(tree, &mut Vec::new(), &mut imports);
    imports
}

fn flatten(tree: &UseTree, before: &mut Vec<String>, imports: &mut Vec<Import>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, imports);
            before.pop();
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, before, imports));
        }
        UseTree::Glob(glob) => {
            let line = glob.star_token.span.start().line;
            imports.push(Import { path: before.clone(), name: None, line });
        }
        UseTree::Name(name) => {
            let line = name.ident.span().start().line;
            let name = name.ident.to_string();
            let path = before.clone();
            // `a::{self, B}` imports `a`.
            let (path, name) = match name.as_str() {
                "self" => (path, before.last().cloned()),
                _ => ([path, vec![name.clone()]].concat(), Some(name)),
            };
            imports.push(Import { path, name, line });
        }
        UseTree::Rename(rename) => {
            let path = match rename.ident.to_string() {
                name if name == "self" => before.clone(),
                name => [before.clone(), vec![name]].concat(),
            };
            let line = rename.ident.span().start().line;
            imports.push(Import { path, name: Some(rename.rename.to_string()), line });
        }
    }
}

/// Whether others can import what this imports.
pub(super) fn is_reexport(visibility: &Visibility) -> bool {
    !matches!(visibility, Visibility::Inherited)
}
