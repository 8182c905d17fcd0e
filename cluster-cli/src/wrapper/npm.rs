//! What package managers run: the scripts of package.json.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Command;

/// A script of package.json.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    name: String,
    text: String,
    /// Whether there is one that is to run before it.
    has_pre: bool,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, text, has_pre } = self;
        write!(f, "package.json: {name:?}: {text:?}")?;
        if *has_pre { write!(f, "; run \"pre{name}\" first") } else { Ok(()) }
    }
}

/// The nearest package.json, and how its folder is named from `folder`.
fn package(folder: &Path) -> Option<(Value, Option<String>)> {
    let here = std::path::absolute(folder).ok()?;
    let found = here.ancestors().find(|folder| folder.join("package.json").is_file())?;
    let text = std::fs::read(found.join("package.json")).ok()?;
    let elsewhere = (found != here).then(|| found.display().to_string());
    Some((serde_json::from_slice(&text).ok()?, elsewhere))
}

/// What `npm`, `yarn` or `pnpm` runs with those words, if it can be told.
pub(super) fn run(
    manager: &str,
    words: &[String],
    command: &Command,
    folder: &Path,
) -> (Option<Command>, Option<Script>) {
    const NONE: (Option<Command>, Option<Script>) = (None, None);
    let Some((verb, rest)) = after_flags(words).and_then(<[String]>::split_first) else {
        return NONE;
    };
    match (manager, &**verb) {
        (_, "start" | "stop" | "test" | "restart") => script(verb, rest, command, folder),
        (_, "run" | "run-script") => match after_flags(rest).and_then(<[String]>::split_first) {
            Some((name, rest)) => script(name, rest, command, folder),
            None => NONE,
        },
        (_, "exec" | "dlx") => (after_flags(rest).map(|rest| command.with(rest)), None),
        ("npm", _) => NONE,
        // Of these the name of a script, or of a program, is enough.
        _ => match script(verb, rest, command, folder) {
            (None, None) => (Some(command.with(&words[words.len() - rest.len() - 1..])), None),
            found => found,
        },
    }
}

/// What is behind the options that have no value; nothing if there is another one.
pub(super) fn after_flags(words: &[String]) -> Option<&[String]> {
    const FLAGS: [&str; 8] =
        ["-s", "--silent", "-q", "--quiet", "-y", "--yes", "--if-present", "--"];
    let count = words.iter().take_while(|word| FLAGS.iter().any(|flag| word == flag)).count();
    let rest = &words[count..];
    rest.first().filter(|word| !word.starts_with('-')).map(|_| rest)
}

/// What the script of that name runs, with these words behind it.
pub(super) fn script(
    name: &str,
    rest: &[String],
    command: &Command,
    folder: &Path,
) -> (Option<Command>, Option<Script>) {
    let at = folder.join(command.cwd.as_deref().map_or(PathBuf::new(), PathBuf::from));
    let Some((package, elsewhere)) = package(&at) else { return (None, None) };
    let mut command = command.clone();
    command.cwd = elsewhere.or(command.cwd);
    let scripts = &package["scripts"];
    let Some(text) = scripts[name].as_str() else {
        // npm's own default.
        let default = name == "start" && at.join("server.js").is_file();
        return (default.then(|| command.with(&["node".into(), "server.js".into()])), None);
    };
    let has_pre = scripts[format!("pre{name}")].is_string();
    let script = Script { name: name.into(), text: text.into(), has_pre };
    let inner = command.parse(text).map(|mut command| {
        // npm's `--` separates its own options from the script's.
        let mut rest = rest.iter();
        let mut behind = rest.clone();
        if behind.any(|word| word == "--") {
            rest = behind;
        }
        command.words.extend(rest.cloned());
        command
    });
    (inner, Some(script))
}
