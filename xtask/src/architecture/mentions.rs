//! What the code of a file mentions of other code: by a path, a method or a field.

use std::collections::BTreeMap;

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, ExprField, ExprMethodCall, ExprStruct, FnArg, ImplItem, ImplItemFn, Item,
    ItemFn, ItemImpl, ItemMod, ItemTrait, ItemUse, LitStr, Macro, Member, Meta, Pat, PatStruct,
    Signature, TraitItemFn, Type, VisRestricted, spanned::Spanned,
};

use super::attributes::is_test_only;
use super::source::{File, ModuleId, Tree, imports, is_reexport};
use super::tokens;

pub(super) struct Mention {
    pub(super) module: ModuleId,
    pub(super) line: usize,
    pub(super) what: What,
}

pub(super) enum What {
    Import {
        path: Vec<String>,
        reexport: bool,
    },
    Path(Vec<String>),
    /// A method of a value whose type is known: of `self`, or of a parameter.
    Method {
        of: Vec<String>,
        method: String,
    },
    /// A field of such a value, whether that is `self`, and the method that is called of the field, if any.
    Field {
        of: Vec<String>,
        field: String,
        own: bool,
        method: Option<String>,
    },
    /// The fields that a pattern takes out of a struct, or that an expression makes one of.
    Fields {
        of: Vec<String>,
        fields: Vec<String>,
    },
}

pub(super) fn of_file(tree: &Tree, file: &File) -> Vec<Mention> {
    let mut visitor = Visitor {
        tree,
        module: file.module,
        own: None,
        variables: BTreeMap::new(),
        mentions: Vec::new(),
    };
    file.syntax.items.iter().for_each(|item| visitor.visit_item(item));
    visitor.mentions
}

/// The path of a type, behind any reference.
pub(super) fn path_of_type(of: &Type) -> Option<Vec<String>> {
    match of {
        Type::Path(path) if path.qself.is_none() => Some(segments(&path.path)),
        Type::Reference(reference) => path_of_type(&reference.elem),
        Type::Paren(paren) => path_of_type(&paren.elem),
        Type::Group(group) => path_of_type(&group.elem),
        _ => None,
    }
}

fn segments(path: &syn::Path) -> Vec<String> {
    let foreign = path.leading_colon.map(|_| "::".to_owned());
    foreign.into_iter().chain(path.segments.iter().map(|part| part.ident.to_string())).collect()
}

struct Visitor<'t> {
    tree: &'t Tree,
    module: ModuleId,
    /// The type whose `impl` this is in.
    own: Option<Vec<String>>,
    /// The types of `self` and of the parameters.
    variables: BTreeMap<String, Vec<String>>,
    mentions: Vec<Mention>,
}

impl Visitor<'_> {
    fn mention(&mut self, span: Span, what: What) {
        self.mention_at(span.start().line, what);
    }

    fn mention_at(&mut self, line: usize, what: What) {
        self.mentions.push(Mention { module: self.module, line, what });
    }

    fn mention_path(&mut self, line: usize, path: Vec<String>) {
        match path.as_slice() {
            [own, method, ..] if own == "Self" => {
                if let Some(of) = self.own.clone() {
                    self.mention_at(line, What::Method { of, method: method.clone() });
                }
            }
            [alone] if matches!(alone.as_str(), "Self" | "self" | "super" | "crate") => {}
            _ => self.mention_at(line, What::Path(path)),
        }
    }

    /// The type of what an expression gives, if it is a variable of known type.
    fn type_of(&self, expression: &Expr) -> Option<Vec<String>> {
        match expression {
            Expr::Path(path) => self.variables.get(&path.path.get_ident()?.to_string()).cloned(),
            Expr::Paren(paren) => self.type_of(&paren.expr),
            Expr::Reference(reference) => self.type_of(&reference.expr),
            _ => None,
        }
    }

    fn type_named(&self, path: Vec<String>) -> Option<Vec<String>> {
        if path == ["Self"] { self.own.clone() } else { Some(path) }
    }

    /// Visits a function, within which its parameters are known.
    fn within(&mut self, signature: &Signature, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::take(&mut self.variables);
        for input in &signature.inputs {
            let (name, of) = match input {
                FnArg::Receiver(_) => ("self".to_owned(), self.own.clone()),
                FnArg::Typed(parameter) => match &*parameter.pat {
                    Pat::Ident(name) => {
                        let of = path_of_type(&parameter.ty).and_then(|path| self.type_named(path));
                        (name.ident.to_string(), of)
                    }
                    _ => continue,
                },
            };
            if let Some(of) = of {
                self.variables.insert(name, of);
            }
        }
        visit(self);
        self.variables = outer;
    }

    fn within_type(&mut self, own: Option<Vec<String>>, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.own, own);
        visit(self);
        self.own = outer;
    }

    fn take_fields<'a>(
        &mut self,
        span: Span,
        path: &syn::Path,
        fields: impl Iterator<Item = &'a Member>,
    ) {
        if let Some(of) = self.type_named(segments(path)) {
            let fields = fields.map(member).collect();
            self.mention(span, What::Fields { of, fields });
        }
    }

    fn scan(&mut self, tokens: proc_macro2::TokenStream) {
        for tokens::Token { line, what } in tokens::mentioned(tokens) {
            let of = |visitor: &Self, variable: &String| visitor.variables.get(variable).cloned();
            match what {
                tokens::What::Path(path) => self.mention_path(line, path),
                tokens::What::Field(variable, field) => {
                    let own = variable == "self";
                    if let Some(of) = of(self, &variable) {
                        self.mention_at(line, What::Field { of, field, own, method: None });
                    }
                }
                tokens::What::Call(variable, method) => {
                    if let Some(of) = of(self, &variable) {
                        self.mention_at(line, What::Method { of, method });
                    }
                }
            }
        }
    }
}

fn is_self(expression: &Expr) -> bool {
    matches!(expression, Expr::Path(path) if path.path.is_ident("self"))
}

fn member(member: &Member) -> String {
    match member {
        Member::Named(name) => name.to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes: &[Attribute] = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
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

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_some() {
            return;
        }
        let reexport = is_reexport(&item.vis);
        for import in imports(&item.tree) {
            self.mention_at(import.line, What::Import { path: import.path, reexport });
        }
    }

    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        self.within_type(path_of_type(&item.self_ty), |visitor| {
            visit::visit_item_impl(visitor, item);
        });
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.within_type(None, |visitor| visit::visit_item_trait(visitor, item));
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.within(&item.sig, |visitor| visit::visit_item_fn(visitor, item));
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_test_only(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.within(&item.sig, |visitor| visit::visit_impl_item_fn(visitor, item));
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        self.within(&item.sig, |visitor| visit::visit_trait_item_fn(visitor, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.mention_path(path.span().start().line, segments(path));
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let method = call.method.to_string();
        if let Some(of) = self.type_of(&call.receiver) {
            self.mention(call.method.span(), What::Method { of, method });
        } else if let Expr::Field(ExprField { base, member: of_field, .. }) = &*call.receiver
            && let Some(of) = self.type_of(base)
        {
            let (field, method) = (member(of_field), Some(method));
            let own = is_self(base);
            self.mention(call.method.span(), What::Field { of, field, own, method });
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_field(&mut self, access: &'ast ExprField) {
        if let Some(of) = self.type_of(&access.base) {
            let (field, own) = (member(&access.member), is_self(&access.base));
            self.mention(access.member.span(), What::Field { of, field, own, method: None });
        }
        visit::visit_expr_field(self, access);
    }

    fn visit_expr_struct(&mut self, made: &'ast ExprStruct) {
        self.take_fields(
            made.path.span(),
            &made.path,
            made.fields.iter().map(|field| &field.member),
        );
        visit::visit_expr_struct(self, made);
    }

    fn visit_pat_struct(&mut self, taken: &'ast PatStruct) {
        let fields = taken.fields.iter().map(|field| &field.member);
        self.take_fields(taken.path.span(), &taken.path, fields);
        visit::visit_pat_struct(self, taken);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.mention_path(call.path.span().start().line, segments(&call.path));
        self.scan(call.tokens.clone());
    }

    /// `#[serde(with = "crate::hex")]`
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let Meta::List(list) = &attribute.meta else { return };
        if list.path.is_ident("doc") || list.path.is_ident("cfg") || list.path.is_ident("cfg_attr")
        {
            return;
        }
        for token in list.tokens.clone() {
            let Ok(text) = syn::parse2::<LitStr>(token.into()) else { continue };
            if let Ok(path) = text.parse::<syn::Path>()
                && path.segments.len() > 1
            {
                self.mention_path(text.span().start().line, segments(&path));
            }
        }
    }

    /// `pub(in crate::driver)` mentions no code.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}
}
