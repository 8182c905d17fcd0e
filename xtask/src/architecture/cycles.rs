//! Dependency cycles of files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Which node has an edge to which.
pub(super) type Graph = BTreeMap<usize, BTreeSet<usize>>;

/// Nodes that can all reach each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    pub(super) members: BTreeSet<usize>,
    /// The shortest way around that visits more than two of them, or else two; its first node is its last.
    pub(super) example: Vec<usize>,
}

/// Those of more than two nodes.
pub(super) fn cycles(graph: &Graph) -> Vec<Cycle> {
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for node in graph.keys() {
        if !seen.contains(node) {
            let members = component(graph, *node);
            seen.extend(members.iter().copied());
            if members.len() > 2 {
                let example = example(graph, &members);
                cycles.push(Cycle { members, example });
            }
        }
    }
    cycles
}

/// The nodes that `node` can reach and that can reach it.
pub(super) fn component(graph: &Graph, node: usize) -> BTreeSet<usize> {
    let mut reversed = Graph::new();
    for (from, targets) in graph {
        targets.iter().for_each(|to| _ = reversed.entry(*to).or_default().insert(*from));
    }
    let forward = reachable(graph, node);
    let mut both: BTreeSet<_> =
        reachable(&reversed, node).intersection(&forward).copied().collect();
    both.insert(node);
    both
}

fn reachable(graph: &Graph, from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for to in graph.get(&node).into_iter().flatten() {
            if reached.insert(*to) {
                next.push(*to);
            }
        }
    }
    reached
}

fn example(graph: &Graph, members: &BTreeSet<usize>) -> Vec<usize> {
    let mut examples = Vec::new();
    for from in members {
        for to in graph.get(from).into_iter().flatten().filter(|to| members.contains(to)) {
            // Back another way than directly, if there is one.
            let direct = way(graph, *to, *from, false);
            examples.extend(
                way(graph, *to, *from, true).or(direct).map(|back| [vec![*from], back].concat()),
            );
        }
    }
    let long = |example: &Vec<usize>| example.len() > 3;
    let shortest =
        examples.iter().filter(|example| long(example)).min_by_key(|example| example.len());
    shortest.or(examples.first()).cloned().unwrap_or_default()
}

/// The shortest way from one node to another.
fn way(graph: &Graph, from: usize, to: usize, indirect: bool) -> Option<Vec<usize>> {
    let mut before = BTreeMap::from([(from, from)]);
    let mut next = VecDeque::from([from]);
    while let Some(node) = next.pop_front() {
        for target in graph.get(&node).into_iter().flatten() {
            if indirect && node == from && *target == to {
                continue;
            }
            if !before.contains_key(target) {
                before.insert(*target, node);
                next.push_back(*target);
            }
        }
    }
    let mut way = vec![to];
    while *way.last()? != from {
        way.push(*before.get(way.last()?)?);
    }
    way.reverse();
    Some(way)
}
