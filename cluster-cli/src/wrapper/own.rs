//! The options of `cluster run` on the command line, which a proposal keeps.

use std::ffi::OsString;

use clap::{Arg, CommandFactory};

use crate::args::Args;

/// Those among the `words` of the command line, which may end with the `program`. What says how the program
/// is run is a part of the proposal itself, and so is the folder if that is another one.
pub(super) fn options(
    words: impl IntoIterator<Item = OsString>,
    program: &[OsString],
    other_folder: bool,
) -> Vec<String> {
    let words: Vec<_> = words.into_iter().skip(1).collect();
    let Some((verb, words)) = words.split_first() else { return Vec::new() };
    if verb != "run" {
        return Vec::new();
    }
    let words = words.strip_suffix(program).unwrap_or(words);
    let mut ours = Args::command();
    ours.build();
    let Some(run) = ours.find_subcommand("run") else { return Vec::new() };
    let named = |word: &str| {
        let name = word.split('=').next().unwrap_or_default();
        run.get_arguments().find(|option| match name.strip_prefix("--") {
            Some(name) => option.get_long() == Some(name),
            None => name.chars().nth(1).is_some_and(|c| option.get_short() == Some(c)),
        })
    };
    let dropped = |option: &Arg| match option.get_long() {
        Some("exec-path" | "exec-arg" | "check") => true,
        Some("cwd") => other_folder,
        _ => false,
    };
    let mut kept = Vec::new();
    let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let Some(option) = named(&word).filter(|_| word.starts_with('-')) else { continue };
        let is_short = !word.starts_with("--");
        let has_value = word.contains('=') || is_short && word.len() > 2;
        let takes_value = option.get_action().takes_values() && !option.is_require_equals_set();
        let value = (takes_value && !has_value).then(|| words.next()).flatten();
        // One that insists on the wrapper.
        let insists = option.get_long() == Some("ready") && value.as_deref() == Some("alive")
            || word == "--ready=alive";
        if !dropped(option) && !insists {
            kept.push(word);
            kept.extend(value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(line: &str, program: &[&str], other_folder: bool) -> String {
        let words = shlex::split(line).expect("words").into_iter().map(OsString::from);
        let program: Vec<_> = program.iter().map(OsString::from).collect();
        options(words, &program, other_folder).join(" ")
    }

    #[test]
    fn options_are_kept_with_their_values() {
        for (line, wanted) in [
            ("cluster run npm start", ""),
            ("cluster run -n 4 npm start", "-n 4"),
            ("cluster run -n4 --grace=3s -- npm start", "-n4 --grace=3s"),
            ("cluster run --hang-replace --cwd app npm start", "--hang-replace --cwd app"),
            ("cluster run --check --exec-arg --watch --env A=b npm start", "--env A=b"),
            ("cluster run --exec-path=tsx --ready alive npm start", ""),
            ("cluster run --ready message npm start", "--ready message"),
            ("cluster run --config cluster.toml", "--config cluster.toml"),
        ] {
            assert_eq!(kept(line, &["npm", "start"], false), wanted, "{line}");
        }
        assert_eq!(kept("cluster run -n 4 --cwd a npm start", &["npm", "start"], true), "-n 4");
    }
}
