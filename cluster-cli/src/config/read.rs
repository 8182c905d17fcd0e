//! Reads options from TOML.

use std::ops::Range;

use clap::Args;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::complaint::{Complaint, place};
use super::near::nearest;
use super::options::Options;
use super::written::EXPECTED;

/// Names that options have elsewhere.
const ELSEWHERE: [(&str, &str); 13] = [
    ("args", "program"),
    ("command", "program"),
    ("environment", "env"),
    ("exec", "program"),
    ("exec-argv", "exec-arg"),
    ("group", "gid"),
    ("instances", "workers"),
    ("interpreter", "exec-path"),
    ("kill-timeout", "grace"),
    ("processes", "workers"),
    ("script", "program"),
    ("timeout", "grace"),
    ("user", "uid"),
];

/// Longer parts of the text are not said again.
const SAID_AGAIN: usize = 40;

/// Reads the options that a text gives; or says all that is wrong with it.
pub(super) fn read(text: &str) -> Result<Options, Vec<Complaint>> {
    let (root, mut errors) = DeTable::parse_recoverable(text);
    let root = root.into_inner();
    errors.sort_by_key(|error| error.span().map(|at| at.start));
    if let Some(error) = errors.first() {
        // What else there is may follow from this.
        return Err(vec![not_toml(text, &root, error)]);
    }
    let names = names();
    let mut options = Options::default();
    let mut complaints = Vec::new();
    // One by one, so that all mistakes are told at once.
    for (key, value) in root {
        let name = key.get_ref().to_string();
        if !names.contains(&name) {
            complaints.push((key.span(), unknown(text, &key.span(), &name, &value, &names)));
            continue;
        }
        let env = value.get_ref().as_table().cloned();
        let mut one = DeTable::new();
        one.insert(key, value);
        let one = ValueDeserializer::from(Spanned::new(0..text.len(), DeValue::Table(one)));
        match Options::deserialize(one) {
            Ok(given) => options = options.over(given),
            Err(error) => {
                let at = error.span().unwrap_or_default();
                let mut complaint = Complaint::new(text, &at, said(text, &at, &name, &error));
                if let Some(option) = env.and_then(|env| option_at(&env, &at, &names)) {
                    complaint = complaint.with_note(format!(
                        "{option} is an option too: options stand before [env]"
                    ));
                }
                complaints.push((at, complaint));
            }
        }
    }
    if complaints.is_empty() {
        return Ok(options);
    }
    complaints.sort_by_key(|(at, _)| at.start);
    Err(complaints.into_iter().map(|(_, complaint)| complaint).collect())
}

/// The names of all options: those of the command line.
pub(super) fn names() -> Vec<String> {
    let command = Options::augment_args(clap::Command::new("options"));
    let name =
        |option: &clap::Arg| option.get_long().unwrap_or(option.get_id().as_str()).to_owned();
    command.get_arguments().map(name).collect()
}

/// What a value is not, in the words of its option.
fn said(text: &str, at: &Range<usize>, name: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let of_type = message.strip_prefix("invalid type: ").and_then(|m| m.split_once(", expected "));
    let takes = match (of_type, message.strip_prefix(EXPECTED)) {
        (Some((_, wanted)), _) => in_our_words(wanted),
        (_, Some(wanted)) => wanted,
        _ if message == "invalid socket address syntax" => in_our_words("socket address"),
        _ => return format!("{name}: {message}"),
    };
    let (takes, hint) = match takes.split_once("; ") {
        Some((takes, hint)) => (takes, format!("; {hint}")),
        None => (takes, String::new()),
    };
    match text.get(at.clone()).filter(|part| part.len() <= SAID_AGAIN && !part.contains('\n')) {
        Some(part) if !part.is_empty() => format!("{name}: expected {takes}, got {part}{hint}"),
        _ => format!("{name}: expected {takes}{hint}"),
    }
}

/// What serde wants.
fn in_our_words(wanted: &str) -> &str {
    match wanted {
        "a boolean" => "true or false",
        "a sequence" => "a list, each element of which is a text in quotes",
        "a string" => "a text in quotes",
        "path string" => "a path in quotes",
        "socket address" => "ADDRESS:PORT in quotes",
        other => other,
    }
}

/// An option's name that stands as a variable's.
fn option_at(env: &DeTable<'_>, at: &Range<usize>, names: &[String]) -> Option<String> {
    let (key, _) = env.iter().find(|(_, value)| value.span() == *at)?;
    names.iter().find(|name| *name == key.get_ref()).cloned()
}

/// A name that no option has.
fn unknown(
    text: &str,
    at: &Range<usize>,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    names: &[String],
) -> Complaint {
    let elsewhere = ELSEWHERE.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
    let meant = elsewhere.or_else(|| nearest(name, names.iter().map(String::as_str)));
    let complaint = |what| Complaint::new(text, at, what);
    if let Some(meant) = meant {
        return complaint(format!("there is no option {name}; did you mean {meant}?"));
    }
    let complaint = complaint(format!("there is no option {name}"));
    match value.get_ref() {
        DeValue::Table(_) => complaint.with_note(
            "options stand at the top of the file, and not in tables; there is only [env]",
        ),
        _ => complaint.with_note(format!("there are {}", names.join(", "))),
    }
}

/// Something that TOML does not allow.
fn not_toml(text: &str, root: &DeTable<'_>, error: &toml::de::Error) -> Complaint {
    let at = error.span().unwrap_or(text.len()..text.len());
    if error.message() == "duplicate key" {
        let key = text.get(at.clone()).unwrap_or_default();
        let first = first(root, key).filter(|first| *first < at.start).map(|at| place(text, at).0);
        let first = first.map(|line| format!("; it stands on line {line} already"));
        let what = format!("{key} is given twice{}", first.unwrap_or_default());
        return Complaint::new(text, &at, what);
    }
    let what = |what: &str| Complaint::new(text, &at, format!("this is not TOML: {what}"));
    if !error.message().starts_with("string values must be quoted") {
        return what(error.message());
    }
    match unquoted(text, at.start) {
        Some(quoted) => what("text stands in quotes").with_note(format!("such as {quoted}")),
        None => what("there is no value"),
    }
}

/// Where a key stands first.
fn first(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let plain = key.trim_matches(['"', '\'']);
    let here = table.keys().find(|known| known.get_ref() == plain).map(|known| known.span().start);
    here.or_else(|| table.values().find_map(|value| first(value.get_ref().as_table()?, key)))
}

/// How the line there would be with quotes; none if there is nothing to be put in quotes.
fn unquoted(text: &str, at: usize) -> Option<String> {
    let (line, _) = place(text, at);
    let (key, value) = text.lines().nth(line - 1)?.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default().trim();
    (!value.is_empty()).then(|| format!("{} = {value:?}", key.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever an option takes, it is not this; so all that is asked is whether it is known.
    #[test]
    fn a_file_knows_each_option_of_the_command_line_and_no_other() {
        let names = names();
        assert!(names.len() > 40, "{names:?}");
        for name in &names {
            let wrong = format!("{name} = [[[]]]");
            let complaints = read(&wrong).expect_err(name);
            let said = format!("{complaints:?}");
            assert!(said.contains(&format!("{name}: expected ")), "{said}");
        }
        let field = |name| Options::deserialize(toml::Deserializer::parse(name).expect("TOML"));
        let error = field("other = 1").expect_err("there is none");
        for known in error.message().split('`').skip(3).step_by(2) {
            assert!(names.iter().any(|name| name == known), "{known} is no option");
        }
    }
}
