//! The manual's pages, and completions, as the tools that read them see them.

mod support;

use std::collections::BTreeSet;
use std::process::{Command, Output};

use support::{Folder, cluster};

#[track_caller]
fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[track_caller]
fn text(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// The words of a text that look like options.
fn options(text: &str) -> BTreeSet<String> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || c == '-');
    let long = |word: &&str| word.starts_with("--") && word.len() > 2;
    text.split(part).filter(long).map(|word| word.trim_end_matches('-').to_owned()).collect()
}

#[test]
fn each_command_has_a_page_that_names_its_options_and_that_groff_reads() {
    let folder = Folder::new("man");
    text(cluster().arg("man").arg(&folder.0));
    let mut pages: Vec<_> = std::fs::read_dir(&folder.0).expect("it is there").flatten().collect();
    pages.sort_by_key(std::fs::DirEntry::file_name);
    let commands = text(cluster().arg("--help"));
    let commands: Vec<_> = commands
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && *word != "help")
        .collect();
    assert!(commands.contains(&"run") && commands.len() > 8, "{commands:?}");
    assert_eq!(pages.len(), commands.len() + 1, "{pages:?}");
    for command in &commands {
        let path = folder.0.join(format!("cluster-{command}.1"));
        let page = std::fs::read_to_string(&path).expect("each has one").replace("\\-", "-");
        let page = ["\\fB", "\\fI", "\\fR"].iter().fold(page, |page, font| page.replace(font, " "));
        let help = text(cluster().args([command, "--help"]));
        let (asked, told) = (options(&help), options(&page));
        let missing: Vec<_> = asked.difference(&told).collect();
        assert!(missing.is_empty(), "{command}: {missing:?}");
    }
    if Command::new("groff").arg("--version").output().is_err() {
        eprintln!("no groff on PATH: the pages are not read");
        return;
    }
    for page in pages {
        let read = output(Command::new("groff").args(["-man", "-ww", "-z"]).arg(page.path()));
        let complaints = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success() && complaints.is_empty(), "{page:?}: {complaints}");
    }
}

#[test]
fn the_first_page_tells_of_signals_files_and_variables() {
    let page = text(cluster().arg("man"));
    for told in ["SIGHUP", "SIGUSR2", "LISTEN_FDS", "CLUSTER_SLOT", ".sock"] {
        assert!(page.contains(told), "{told}");
    }
    for hidden in ["demo-worker", "listen-shim"] {
        assert!(!page.replace("\\-", "-").contains(hidden), "{hidden}");
    }
}

#[test]
fn where_the_manual_cannot_be_written_that_is_said() {
    let folder = Folder::new("man-file");
    let file = folder.0.join("a-file");
    std::fs::write(&file, "").expect("a file");
    let output = output(cluster().arg("man").arg(&file));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the manual cannot be written to") && said.contains("a-file"), "{said}");
}

/// What bash offers for these words.
fn offered(completions: &str, words: &[&str]) -> Vec<String> {
    let script = format!(
        "{completions}\nCOMP_WORDS=({}); COMP_CWORD={}; _cluster cluster {} {}; echo \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1,
        words[words.len() - 1],
        words[words.len() - 2],
    );
    let said = text(Command::new("bash").args(["--norc", "-c", &script]));
    said.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    let completions = text(cluster().args(["completions", "bash"]));
    assert_eq!(offered(&completions, &["cluster", "rel"]), ["reload"]);
    let some = offered(&completions, &["cluster", "run", "--max-"]);
    assert!(some.iter().any(|option| option == "--max-failures"), "{some:?}");
    assert!(offered(&completions, &["cluster", "listen-"]).is_empty());
    let policies = offered(&completions, &["cluster", "run", "--policy", "''"]);
    assert_eq!(policies, ["rr", "least-connections", "sticky", "random"]);
}

#[test]
fn other_shells_have_theirs() {
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let completions = text(cluster().args(["completions", shell]));
        assert!(completions.contains("max-failures") && !completions.contains("listen-shim"));
    }
    let unknown = output(cluster().args(["completions", "tcsh"]));
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert!(unknown.status.code() == Some(2) && said.contains("fish"), "{said}");
}
