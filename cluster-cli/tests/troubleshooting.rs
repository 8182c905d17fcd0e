//! docs/troubleshooting.md quotes messages: each is one that can still be met.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use support::{cluster, file};

/// Whose messages stand there.
const SOURCES: [&str; 8] = [
    "cluster-cli/src",
    "cluster-control/src",
    "cluster-supervisor/src",
    "cluster-primary/src",
    "cluster-worker/src",
    "cluster-ipc/src",
    "cluster-proto/src",
    "cluster-sched/src",
];

/// What differs from one message to the next.
const GAP: char = '…';

/// As the system words its errors.
const SYSTEM: [i32; 17] = [1, 2, 7, 11, 13, 20, 21, 22, 23, 24, 28, 36, 97, 98, 99, 104, 111];

/// The messages of the page: bold and in code, each a line of its own.
fn quoted(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("**`")?.strip_suffix("`**\\")).collect()
}

/// Texts that are put together to messages, without what stands at their ends.
#[derive(Default)]
struct Texts(BTreeSet<String>);

impl Texts {
    fn add(&mut self, text: &str) {
        let texts = text.split(GAP).map(bare).filter(|text| !text.is_empty());
        self.0.extend(texts.map(str::to_owned));
    }

    /// Whether it is a part of a text, or of several, one after the other: the end of one, others as
    /// they are, and the beginning of one.
    fn prints(&self, part: &str) -> bool {
        let part = bare(part);
        self.0.iter().any(|text| text.contains(part))
            || splits(part).any(|(end, more)| {
                self.0.iter().any(|text| text.ends_with(end)) && self.go_on(more)
            })
    }

    fn go_on(&self, part: &str) -> bool {
        self.0.range(part.to_owned()..).next().is_some_and(|text| text.starts_with(part))
            || splits(part).any(|(whole, more)| self.0.contains(whole) && self.go_on(more))
    }
}

/// What stands between two values.
fn bare(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ":;.,()'\"".contains(c))
}

/// The ways to cut it between two words.
fn splits(part: &str) -> impl Iterator<Item = (&str, &str)> {
    let places = part.match_indices(' ').map(|(at, _)| part.split_at(at));
    places.map(|(before, after)| (bare(before), bare(after)))
}

/// Where the page is wrong: messages of it that the program does not print.
fn unsaid<'a>(page: &'a str, said: &Texts) -> Vec<&'a str> {
    let wrong = |message: &&str| {
        let mut known = (*message).to_owned();
        for number in SYSTEM {
            let words = std::io::Error::from_raw_os_error(number).to_string();
            known = known.replace(&words, "…");
        }
        let letters = known.chars().filter(|c| c.is_alphabetic()).count();
        letters < 10 || !known.split(GAP).all(|part| bare(part).is_empty() || said.prints(part))
    };
    quoted(page).into_iter().filter(wrong).collect()
}

/// The texts in a source file, as they are printed; a gap for each value.
fn literals(source: &str, into: &mut Texts) {
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'']) {
        let (before, from) = rest.split_at(at);
        rest = if let Some(comment) = from.strip_prefix("//") {
            comment.split_once('\n').map_or("", |(_, next)| next)
        } else if let Some(text) = from.strip_prefix('"') {
            let raw = before.ends_with('r');
            let end = if raw { text.find('"') } else { end_of(text) };
            let (text, next) = text.split_at(end.unwrap_or(text.len()));
            into.add(&printed(text));
            next.get(1..).unwrap_or_default()
        } else {
            // A quotation mark as a character.
            ["'\"'", "'\\\"'"].iter().find_map(|c| from.strip_prefix(c)).unwrap_or(&from[1..])
        };
    }
}

fn end_of(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

/// A literal's text: escapes are resolved, and values left out.
fn printed(text: &str) -> String {
    let mut printed = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => printed.push('\n'),
                Some(c) => printed.push(c),
                None => {}
            },
            '{' if chars.next_if_eq(&'{').is_some() => printed.push('{'),
            '}' if chars.next_if_eq(&'}').is_some() => printed.push('}'),
            '{' => {
                for _ in chars.by_ref().take_while(|c| *c != '}') {}
                printed.push(GAP);
            }
            c => printed.push(c),
        }
    }
    printed
}

fn read(folder: &Path, into: &mut Texts) {
    for entry in std::fs::read_dir(folder).expect("it is there").flatten() {
        let path = entry.path();
        if path.is_dir() {
            read(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).expect("it is text");
            // What only tests contain.
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            literals(text, into);
        }
    }
}

/// All that is said by us, and by the library that reads command lines.
fn said() -> Texts {
    let mut said = Texts::default();
    SOURCES.iter().for_each(|folder| read(&file(folder), &mut said));
    for wrong in [&["run", "--no-such-option"][..], &["run", "--policy", "best"]] {
        let output = cluster().args(wrong).output().expect("it runs");
        said.add(&String::from_utf8_lossy(&output.stderr));
    }
    said
}

#[test]
fn each_message_of_the_page_can_be_met() {
    let page = std::fs::read_to_string(file("docs/troubleshooting.md")).expect("it is there");
    let count = quoted(&page).len();
    assert!(count > 120, "{count} messages");
    let unsaid = unsaid(&page, &said());
    assert!(unsaid.is_empty(), "the program does not print these any more: {unsaid:#?}");
    // One that is no line of its own, or broken over two, would not be looked at.
    let marks = page.matches("**`").count();
    assert_eq!(marks, count, "each stands on a line of its own");
}

#[test]
fn messages_that_are_not_printed_are_found() {
    let mut said = Texts::default();
    literals(
        "// \"not this, in a comment\"\nf(\"cannot listen on {at}: {error}\", '\"', \"it is \\\n   \
         \\\"there\\\" already\"); g(r\"\\d{2}\", \"; stop it, or go elsewhere\");",
        &mut said,
    );
    assert!(said.0.contains("cannot listen on"), "{:?}", said.0);
    assert!(said.0.contains("it is \"there\" already"), "{:?}", said.0);
    for good in [
        "cannot listen on …: Permission denied (os error 13)",
        "cannot listen on …: it is \"there\" already; stop it, or go",
        "listen on it is \"there\" already",
    ] {
        assert_eq!(unsaid(&format!("**`{good}`**\\\n"), &said), [""; 0]);
    }
    for wrong in [
        "cannot listen at …: …",
        "not this, in a comment",
        "…: …",
        "it is",
        "cannot listen on it is stop it, or go elsewhere",
        "cannot listen on …: it is there already",
    ] {
        assert_eq!(unsaid(&format!("**`{wrong}`**\\\n"), &said), [wrong]);
    }
}
