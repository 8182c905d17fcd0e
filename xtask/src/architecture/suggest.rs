//! The layers that the modules of a folder are in today.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{between, within};
use super::cycles::{Graph, component};
use super::links::Links;
use super::rules::OWN;
use super::source::Tree;

/// The rules that the crate in `folder` keeps to now, except that modules of a cycle stand in one line.
pub(super) fn suggestion(folder: &str, tree: &Tree) -> String {
    let links = Links::of(tree);
    let mut uses: BTreeMap<Vec<String>, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to) in links.uses.keys() {
        if let Some(between) = between(tree, *from, *to) {
            uses.entry(between.parent).or_default().insert((between.from, between.to));
        }
    }
    let mut text = String::new();
    for (parent, modules) in within(tree).iter().filter(|(_, modules)| modules.len() > 1) {
        let key = [&[folder.to_owned()], &parent[..]].concat().join("/");
        let uses = uses.remove(parent).unwrap_or_default();
        let names: Vec<_> = modules.keys().cloned().chain([OWN.to_owned()]).collect();
        text += &format!("\"{key}\" = [\n");
        for line in layers(&names, &uses) {
            text += &format!("    {line},\n");
        }
        text += "]\n\n";
    }
    text
}

/// A line for each use of one file by another.
pub(super) fn uses(tree: &Tree) -> String {
    let links = Links::of(tree);
    let mut text = String::new();
    for ((from, to), items) in &links.uses {
        let [from, to] = [from, to].map(|file| tree.files[*file].path.display());
        for (item, line) in items {
            text += &format!("{from}:{line}: `{item}` of {to}\n");
        }
    }
    text
}

fn layers(names: &[String], uses: &BTreeSet<(String, String)>) -> Vec<String> {
    let index = |name: &String| names.iter().position(|other| other == name);
    let mut graph = Graph::new();
    for (from, to) in uses {
        if let (Some(from), Some(to)) = (index(from), index(to)) {
            graph.entry(from).or_default().insert(to);
        }
    }
    let groups: BTreeSet<_> = (0..names.len()).map(|node| component(&graph, node)).collect();
    let mut lines: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for group in &groups {
        let members: Vec<_> = group.iter().map(|node| names[*node].as_str()).collect();
        let on_top = !graph.values().flatten().any(|to| group.contains(to));
        if members == [OWN] && on_top {
            continue;
        }
        let pair = if members.len() == 2 { members.join("+") } else { members.join(" ") };
        lines.entry(height(&graph, group)).or_default().push(pair);
    }
    lines.values().map(|line| format!("\"{}\"", line.join(" "))).collect()
}

/// The length of the longest way down.
fn height(graph: &Graph, group: &BTreeSet<usize>) -> usize {
    let below: BTreeSet<_> = group
        .iter()
        .flat_map(|node| graph.get(node))
        .flatten()
        .filter(|to| !group.contains(to))
        .collect();
    below.iter().map(|to| 1 + height(graph, &component(graph, **to))).max().unwrap_or(0)
}
