//! What package managers run: the scripts of package.json.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Command, Kind, Step};

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

/// What a package manager runs.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The command, if it is a plain one.
    pub(super) inner: Option<Command>,
    pub(super) script: Option<Script>,
    /// Why there is no such script.
    pub(super) missing: Option<String>,
}

impl Found {
    fn command(inner: Option<Command>) -> Self {
        Self { inner, ..Self::default() }
    }

    pub(super) fn step(self, name: String) -> Step {
        let Self { inner, script, missing } = self;
        Step { name, kind: Some(Kind::Runner), inner, script, missing }
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
pub(super) fn run(manager: &str, words: &[String], command: &Command, folder: &Path) -> Found {
    let Some((verb, rest)) = after_flags(words).and_then(<[String]>::split_first) else {
        return Found::default();
    };
    match (manager, &**verb) {
        (_, "start" | "stop" | "test" | "restart") => script(verb, rest, command, folder),
        (_, "run" | "run-script") => match after_flags(rest).and_then(<[String]>::split_first) {
            Some((name, rest)) => script(name, rest, command, folder),
            None => Found::default(),
        },
        (_, "exec" | "dlx") => {
            Found::command(after_flags(rest).and_then(|rest| command.with(rest).of_package()))
        }
        ("npm", _) => Found::default(),
        // Of these the name of a script, or of a program, is enough.
        _ => match script(verb, rest, command, folder) {
            Found { inner: None, script: None, missing } => {
                let program = command.with(&words[words.len() - rest.len() - 1..]);
                Found { inner: Some(program), script: None, missing }
            }
            found => found,
        },
    }
}

/// What is behind the options that have no value; nothing if there is another one.
pub(super) fn after_flags(words: &[String]) -> Option<&[String]> {
    const FLAGS: [&str; 12] = [
        "-s",
        "--silent",
        "-q",
        "--quiet",
        "-y",
        "--yes",
        "--no",
        "--no-install",
        "--offline",
        "--prefer-offline",
        "--if-present",
        "--",
    ];
    let count = words.iter().take_while(|word| FLAGS.iter().any(|flag| word == flag)).count();
    let rest = &words[count..];
    rest.first().filter(|word| !word.starts_with('-')).map(|_| rest)
}

/// What the script of that name runs, with these words behind it.
pub(super) fn script(name: &str, rest: &[String], command: &Command, folder: &Path) -> Found {
    let at = folder.join(command.cwd.as_deref().map_or(PathBuf::new(), PathBuf::from));
    let here = std::path::absolute(&at).unwrap_or_else(|_| at.clone());
    let Some((package, elsewhere)) = package(&at) else {
        let missing =
            format!("there is no package.json in {}, nor in a folder above it", here.display());
        return Found { missing: Some(missing), ..Found::default() };
    };
    let place = elsewhere.clone().map_or(here, PathBuf::from);
    let mut command = command.clone();
    command.cwd = elsewhere.or(command.cwd);
    let scripts = &package["scripts"];
    let Some(text) = scripts[name].as_str() else {
        // npm's own default.
        if name == "start" && at.join("server.js").is_file() {
            return Found::command(Some(command.with(&["node".into(), "server.js".into()])));
        }
        let missing = no_script(name, scripts, &place);
        return Found { missing: Some(missing), ..Found::default() };
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
    Found { inner, script: Some(script), missing: None }
}

fn no_script(name: &str, scripts: &Value, place: &Path) -> String {
    let names: Vec<_> = scripts.as_object().into_iter().flatten().map(|(name, _)| name).collect();
    let there = match &names[..] {
        [] => "it has none".into(),
        names => {
            let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
            format!("it has {}", names.join(", "))
        }
    };
    let file: PathBuf = place.join("package.json").components().collect();
    format!("{} has no script {name:?} ({there})", file.display())
}
