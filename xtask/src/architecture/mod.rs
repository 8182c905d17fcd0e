//! `cargo xtask architecture`: whether modules use each other as `architecture.toml` allows.
//!
//! It reads the sources as the compiler does, as far as names and modules go: a file depends on the files that define what
//! it mentions, by an import, a path, a method or a field. What macros make and what only types tell stays unseen.

mod attributes;
mod check;
mod cycles;
mod exceptions;
mod finding;
mod links;
mod mentions;
mod names;
mod rules;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod tokens;
mod types;

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

use crate::step;
use exceptions::{Exceptions, OfCrate};
use finding::Finding;
use rules::Rules;
use source::Tree;

const RULES: &str = "architecture.toml";

const EXCEPTIONS: &str = "architecture-exceptions.toml";

#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct Args {
    /// List all findings, also those that architecture-exceptions.toml excepts
    #[arg(long)]
    all: bool,
    /// Lower the exceptions to what is still found
    #[arg(long)]
    tighten: bool,
    /// Write a crate's exceptions again, after files were moved or renamed; refused if any kind has more of them than before
    #[arg(long, value_name = "CRATE")]
    rebase: Option<String>,
    /// Print the layers that a crate's modules are in now, in the form of architecture.toml
    #[arg(long, value_name = "CRATE")]
    suggest: Option<String>,
    /// Print what each file of a crate uses of which other files
    #[arg(long, value_name = "CRATE")]
    uses: Option<String>,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    if let Some(folder) = &args.suggest {
        print!("{}", suggest::suggestion(folder, &tree(folder)?));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = &args.uses {
        print!("{}", suggest::uses(&tree(folder)?));
        return Ok(ExitCode::SUCCESS);
    }
    let rules = Rules::parse(&text(RULES)?).map_err(|error| in_file(RULES, &error))?;
    let text = text(EXCEPTIONS)?;
    let mut exceptions = Exceptions::parse(&text).map_err(|error| in_file(EXCEPTIONS, &error))?;
    let crates = crates()?;
    let mut wrong = strangers(&crates, &rules, &exceptions);
    for folder in &crates {
        let findings = check::findings(folder, &tree(folder)?, &rules, &crates);
        let report = Report::of(folder, &findings, &exceptions);
        if args.all {
            findings.iter().for_each(|finding| println!("{finding}"));
        } else if args.tighten {
            exceptions.set(folder, report.known.tightened(&report.now));
        } else if args.rebase.as_ref() == Some(folder) {
            let grown = report.known.grown(&report.now);
            if exceptions.has(folder) && !grown.is_empty() {
                let grown = grown.join("; ");
                return Err(io::Error::other(format!("{folder} has more to except: {grown}")));
            }
            exceptions.set(folder, report.now.clone());
        } else {
            wrong.extend(report.wrong.iter().map(ToString::to_string));
            wrong.extend(report.loose());
        }
        println!("{}", report.summary());
    }
    if args.tighten || args.rebase.is_some() {
        fs::write(step::root().join(EXCEPTIONS), exceptions.text().map_err(io::Error::other)?)?;
    }
    wrong.iter().for_each(|wrong| println!("{wrong}"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// As a stage of CI.
pub(crate) fn kept() -> io::Result<()> {
    let args = Args { all: false, tighten: false, rebase: None, suggest: None, uses: None };
    match run(&args)? {
        ExitCode::SUCCESS => Ok(()),
        _ => Err(io::Error::other(format!("the modules are not as {RULES} has them"))),
    }
}

/// What is found of one crate, and what of it is excepted.
struct Report<'a> {
    folder: &'a str,
    known: OfCrate,
    now: OfCrate,
    /// Those that are not excepted.
    wrong: Vec<&'a Finding>,
    excepted: usize,
}

impl<'a> Report<'a> {
    fn of(folder: &'a str, findings: &'a [Finding], exceptions: &Exceptions) -> Self {
        let source = Path::new(folder).join("src");
        let known = exceptions.of_crate(folder);
        let now = OfCrate::recorded(findings, &source);
        let is_excepted = |finding: &&Finding| {
            finding.key(&source).is_some_and(|(key, _)| known.covers(&key, &now))
        };
        let (excepted, wrong): (Vec<_>, _) = findings.iter().partition(is_excepted);
        Self { folder, now, wrong, excepted: excepted.len(), known }
    }

    /// What is wrong if there are exceptions that are not needed any more.
    fn loose(&self) -> Option<String> {
        let loose = self.known.tightened(&self.now) != self.known;
        loose.then(|| {
            format!(
                "{EXCEPTIONS}: {} needs fewer exceptions than it has: lower them with `cargo xtask architecture --tighten`",
                self.folder
            )
        })
    }

    fn summary(&self) -> String {
        let sums = self.now.sums();
        let sums: Vec<_> = sums.iter().map(|(kind, sum)| format!("{sum} {kind}")).collect();
        let (wrong, excepted) = (self.wrong.len(), self.excepted);
        format!("{}: {}; {wrong} findings, {excepted} excepted", self.folder, sums.join(", "))
    }
}

/// Rules and exceptions of what is no crate.
fn strangers(crates: &[String], rules: &Rules, exceptions: &Exceptions) -> Vec<String> {
    let is_of = |folder: &str, name: &str| {
        folder.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let stranger = |folder: &str| !crates.iter().any(|name| is_of(folder, name));
    let rules = rules.folders().map(|(folder, _)| (RULES, folder));
    let exceptions = exceptions.folders().map(|folder| (EXCEPTIONS, folder));
    let strangers = rules.chain(exceptions).filter(|(_, folder)| stranger(folder));
    strangers
        .map(|(file, folder)| format!("{file}: there is no crate of \"{folder}\": remove it"))
        .collect()
}

/// The folders of the workspace's members.
fn crates() -> io::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Manifest {
        workspace: Workspace,
    }
    #[derive(Deserialize)]
    struct Workspace {
        members: Vec<String>,
    }
    let manifest: Manifest = toml::from_str(&text("Cargo.toml")?).map_err(io::Error::other)?;
    Ok(manifest.workspace.members)
}

fn tree(folder: &str) -> io::Result<Tree> {
    let read = |path: &Path| fs::read_to_string(step::root().join(path)).ok();
    Tree::read(folder, &read).map_err(io::Error::other)
}

fn text(name: &str) -> io::Result<String> {
    fs::read_to_string(step::root().join(name)).map_err(|error| in_file(name, &error.to_string()))
}

fn in_file(name: &str, error: &str) -> io::Error {
    io::Error::other(format!("{name}: {error}"))
}
