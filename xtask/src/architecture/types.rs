//! The structs of a crate: which file defines them, and which their methods.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, ItemImpl, ItemMod, ItemStruct, Visibility};

use super::attributes::is_test_only;
use super::mentions::path_of_type;
use super::names::Meaning;
use super::source::{FileId, ModuleId, Tree};

/// The module that defines a type, and its name.
pub(super) type TypeId = (ModuleId, String);

#[derive(Default)]
pub(super) struct Types {
    structs: BTreeMap<TypeId, BTreeMap<String, Field>>,
    methods: BTreeMap<TypeId, BTreeMap<String, BTreeSet<FileId>>>,
}

struct Field {
    openness: Openness,
    of: Option<Vec<String>>,
}

/// Who can use a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Openness {
    /// The module and those within it.
    Private,
    /// `pub(super)`, `pub(crate)`
    Shared,
    Public,
}

impl Types {
    pub(super) fn of(tree: &Tree) -> Self {
        let mut types = Self::default();
        for file in &tree.files {
            let (module, types) = (file.module, &mut types);
            let mut visitor = Visitor { tree, module, types };
            file.syntax.items.iter().for_each(|item| visitor.visit_item(item));
        }
        types
    }

    /// The type that a path leads to.
    pub(super) fn named(tree: &Tree, module: ModuleId, path: &[String]) -> Option<TypeId> {
        match tree.resolve(module, path)? {
            found if !found.rest.is_empty() => None,
            found => match found.meaning {
                Meaning::Item(module, name) => Some((module, name)),
                _ => None,
            },
        }
    }

    pub(super) fn openness(&self, of: &TypeId, field: &str) -> Option<Openness> {
        Some(self.structs.get(of)?.get(field)?.openness)
    }

    /// The type of a field.
    pub(super) fn field(&self, tree: &Tree, of: &TypeId, field: &str) -> Option<TypeId> {
        let path = self.structs.get(of)?.get(field)?.of.as_ref()?;
        Self::named(tree, of.0, path)
    }

    /// The files that define a method; several, if it is another's in each system.
    pub(super) fn method(&self, of: &TypeId, method: &str) -> Option<&BTreeSet<FileId>> {
        self.methods.get(of)?.get(method)
    }
}

struct Visitor<'t> {
    tree: &'t Tree,
    module: ModuleId,
    types: &'t mut Types,
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(ItemMod { attrs, .. })
            | Item::Struct(ItemStruct { attrs, .. })
            | Item::Impl(ItemImpl { attrs, .. })
                if is_test_only(attrs) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let children = self.tree.modules[self.module].children.get(&item.ident.to_string());
        let file = self.tree.file_of(self.module);
        let inner = children.and_then(|children| {
            children.iter().find(|child| self.tree.file_of(**child) == file).copied()
        });
        if let Some(inner) = inner {
            let outer = std::mem::replace(&mut self.module, inner);
            items.iter().for_each(|item| self.visit_item(item));
            self.module = outer;
        }
    }

    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        let fields = item.fields.iter().enumerate().map(|(index, field)| {
            let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            let openness = match &field.vis {
                Visibility::Public(_) => Openness::Public,
                Visibility::Restricted(_) => Openness::Shared,
                Visibility::Inherited => Openness::Private,
            };
            (name, Field { openness, of: path_of_type(&field.ty) })
        });
        self.types.structs.insert((self.module, item.ident.to_string()), fields.collect());
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let path = path_of_type(&item.self_ty);
        let of = path.and_then(|path| Types::named(self.tree, self.module, &path));
        let Some(of) = of else { return };
        let methods = self.types.methods.entry(of).or_default();
        for member in &item.items {
            let name = match member {
                ImplItem::Fn(member) if !is_test_only(&member.attrs) => &member.sig.ident,
                ImplItem::Const(member) => &member.ident,
                _ => continue,
            };
            let files = methods.entry(name.to_string()).or_default();
            files.insert(self.tree.file_of(self.module));
        }
    }
}
