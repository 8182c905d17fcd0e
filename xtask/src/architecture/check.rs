//! Compares what the files of a crate use with what they may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::cycles::{self, Graph};
use super::finding::{Finding, Step, What};
use super::links::Links;
use super::rules::{OWN, Rules};
use super::source::{FileId, Tree};

/// Other files that may use the fields of a type: a `state.rs` within the module, say.
const MAX_SPREAD: usize = 1;

/// A module without rules has no more modules within it than this: they cannot be in a cycle of more than two files.
const MAX_WITHOUT_RULES: usize = 1;

/// What a crate, which is in `folder`, does that the rules forbid; in the order of files and lines. A member of the workspace
/// may be in the folder of another.
pub(super) fn findings(
    folder: &str,
    tree: &Tree,
    rules: &Rules,
    members: &[String],
) -> Vec<Finding> {
    let links = Links::of(tree);
    let mut findings = listed(folder, tree, rules, members);
    findings.extend(dependencies(folder, tree, &links, rules));
    findings.extend(cycles(tree, &links));
    findings.extend(spread(tree, &links));
    findings.extend(links.upward.iter().map(|upward| Finding {
        file: path(tree, upward.file),
        line: upward.line,
        what: What::Upward {
            path: upward.path.clone(),
            by: upward.by.clone(),
            instead: upward.instead.clone(),
        },
    }));
    findings.extend(links.unresolved.iter().map(|unresolved| Finding {
        file: path(tree, unresolved.file),
        line: unresolved.line,
        what: What::Unresolved { path: unresolved.path.clone() },
    }));
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    findings
}

fn path(tree: &Tree, file: FileId) -> PathBuf {
    tree.files[file].path.clone()
}

/// The rules of the folder of a module: `cluster-proto/codec`.
fn key(folder: &str, module: &[String]) -> String {
    [&[folder.to_owned()], module].concat().join("/")
}

/// The modules directly within each module, by the first file of each.
pub(super) fn within(tree: &Tree) -> BTreeMap<Vec<String>, BTreeMap<String, FileId>> {
    let mut within: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (id, file) in tree.files.iter().enumerate() {
        if let Some((name, parent)) = file.name.split_last() {
            within.entry(parent.to_vec()).or_default().entry(name.clone()).or_insert(id);
        }
    }
    within
}

/// Whether the rules list the modules that there are.
fn listed(folder: &str, tree: &Tree, rules: &Rules, members: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let within = within(tree);
    for (parent, modules) in &within {
        let folder = key(folder, parent);
        let first = modules.values().next().copied().unwrap_or_default();
        let Some(rules) = rules.folder(&folder) else {
            if modules.len() > MAX_WITHOUT_RULES {
                let what = What::NoRules { folder };
                findings.push(Finding { file: path(tree, first), line: 1, what });
            }
            continue;
        };
        for (module, file) in modules.iter().filter(|(module, _)| !rules.has(module)) {
            let what = What::Unlisted { module: module.clone(), folder: folder.clone() };
            findings.push(Finding { file: path(tree, *file), line: 1, what });
        }
    }
    for (key, rules) in rules.folders() {
        let is_inner =
            |member: &String| member.len() > folder.len() && module_of(member, key).is_some();
        let Some(parent) = module_of(folder, key) else { continue };
        if members.iter().any(is_inner) {
            continue;
        }
        let modules = within.get(&parent);
        let stale = rules.modules().filter(|module| {
            *module != OWN && !modules.is_some_and(|modules| modules.contains_key(*module))
        });
        for module in stale {
            let what = What::Stale { module: module.to_owned(), folder: key.to_owned() };
            findings.push(Finding { file: "architecture.toml".into(), line: 1, what });
        }
    }
    findings
}

/// The module whose rules these are, if it is one of the crate.
fn module_of(folder: &str, key: &str) -> Option<Vec<String>> {
    let rest = key.strip_prefix(folder)?;
    match rest.strip_prefix('/') {
        Some(rest) => Some(rest.split('/').map(str::to_owned).collect()),
        None => rest.is_empty().then(Vec::new),
    }
}

/// A dependency of a file, as one between two modules of one folder.
pub(super) struct Between {
    pub(super) parent: Vec<String>,
    pub(super) from: String,
    pub(super) to: String,
}

pub(super) fn between(tree: &Tree, from: FileId, to: FileId) -> Option<Between> {
    let (from, to) = (&tree.files[from].name, &tree.files[to].name);
    let common = from.iter().zip(to).take_while(|(from, to)| from == to).count();
    let name = |path: &Vec<String>| path.get(common).map_or_else(|| OWN.to_owned(), Clone::clone);
    let (from_name, to_name) = (name(from), name(to));
    // Two files for one module are for different systems.
    (from_name != to_name).then(|| Between {
        parent: from[..common].to_vec(),
        from: from_name,
        to: to_name,
    })
}

fn dependencies(folder: &str, tree: &Tree, links: &Links, rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((from, to), items) in &links.uses {
        let Some(between) = between(tree, *from, *to) else { continue };
        let folder = key(folder, &between.parent);
        let Some(rules) = rules.folder(&folder) else { continue };
        // That it is not listed is a finding already.
        if between.from != OWN && !rules.has(&between.from) {
            continue;
        }
        let Err(denied) = rules.check(&between.from, &between.to) else { continue };
        let name = |name: &str| [&between.parent[..], &[name.to_owned()]].concat().join("/");
        findings.extend(items.iter().map(|(item, line)| Finding {
            file: path(tree, *from),
            line: *line,
            what: What::Dependency {
                from: name(&between.from),
                to: name(&between.to),
                item: item.clone(),
                folder: folder.clone(),
                denied: denied.clone(),
            },
        }));
    }
    findings
}

fn cycles(tree: &Tree, links: &Links) -> Vec<Finding> {
    let mut graph = Graph::new();
    for (from, to) in links.uses.keys() {
        graph.entry(*from).or_default().insert(*to);
    }
    let found = cycles::cycles(&graph).into_iter().map(|cycle| {
        let steps: Vec<_> = cycle
            .example
            .windows(2)
            .map(|pair| {
                let (item, line) = links.uses[&(pair[0], pair[1])]
                    .first_key_value()
                    .map(|(item, line)| (item.clone(), *line))
                    .unwrap_or_default();
                Step { file: path(tree, pair[0]), line, item, to: path(tree, pair[1]) }
            })
            .collect();
        let files = cycle.members.iter().map(|file| path(tree, *file)).collect();
        let first = steps.first().map(|step| (step.file.clone(), step.line));
        let (file, line) = first.unwrap_or_default();
        Finding { file, line, what: What::Cycle { files, steps } }
    });
    found.collect()
}

fn spread(tree: &Tree, links: &Links) -> Vec<Finding> {
    let several = links.spread.iter().filter(|(_, files)| files.len() > MAX_SPREAD);
    let found = several.map(|((module, name), files)| {
        let of = [&tree.modules[*module].name[..], std::slice::from_ref(name)].concat().join("::");
        let places =
            |(file, lines): (&FileId, &BTreeSet<usize>)| (path(tree, *file), lines.clone());
        let file = path(tree, tree.file_of(*module));
        Finding {
            file,
            line: 1,
            what: What::Spread { of, files: files.iter().map(places).collect() },
        }
    });
    found.collect()
}
