//! What can be told of the tokens within a macro call, which have no syntax of their own.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Something that a macro's tokens mention.
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) what: What,
}

pub(super) enum What {
    /// `a::b::c`, or a name alone.
    Path(Vec<String>),
    /// `variable.field`
    Field(String, String),
    /// `variable.method(…)`
    Call(String, String),
}

/// The names that a macro defines, as `thread_local!` does.
pub(super) fn defined(tokens: TokenStream) -> Vec<String> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut names = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (token, tokens.get(at + 1)) {
            (TokenTree::Group(group), _) => names.extend(defined(group.stream())),
            (TokenTree::Ident(word), Some(TokenTree::Ident(name)))
                if ["const", "enum", "static", "struct"].iter().any(|defines| word == defines) =>
            {
                names.push(name.to_string());
            }
            _ => {}
        }
    }
    names
}

pub(super) fn mentioned(tokens: TokenStream) -> Vec<Token> {
    let mut mentioned = Vec::new();
    scan(tokens, &mut mentioned);
    mentioned
}

fn scan(tokens: TokenStream, mentioned: &mut Vec<Token>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => scan(group.stream(), mentioned),
            TokenTree::Ident(first) if !is_punct(&tokens, at.wrapping_sub(1), '.') => {
                let line = first.span().start().line;
                let mut path = vec![first.to_string()];
                while is_separator(&tokens, at + 1)
                    && let Some(TokenTree::Ident(next)) = tokens.get(at + 3)
                {
                    path.push(next.to_string());
                    at += 3;
                }
                if path.len() == 1
                    && is_punct(&tokens, at + 1, '.')
                    && let Some(TokenTree::Ident(member)) = tokens.get(at + 2)
                {
                    let (variable, member) = (path.remove(0), member.to_string());
                    let what = match is_call(&tokens, at + 3) {
                        true => What::Call(variable, member),
                        false => What::Field(variable, member),
                    };
                    mentioned.push(Token { line, what });
                } else {
                    mentioned.push(Token { line, what: What::Path(path) });
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, punct: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(found)) if found.as_char() == punct)
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

fn is_call(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
}
