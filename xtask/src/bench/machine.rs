//! What it was measured on: what matters to the numbers, and nothing that names the machine.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde_json::{Value, json};

use super::peers::Peers;
use crate::node::Node;

pub(crate) struct Machine(Vec<(&'static str, String)>);

impl Machine {
    pub(crate) fn describe(nodes: &[Node], peers: &Peers) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cores = available_parallelism().map_or(0, usize::from);
        let model = field(&read("/proc/cpuinfo"), "model name", ':');
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':').and_then(|total| {
            let kib: f64 = total.strip_suffix("kB")?.trim().parse().ok()?;
            Some(format!("{:.1} GiB", kib / f64::from(1 << 20)))
        });
        let system = field(&read("/etc/os-release"), "PRETTY_NAME", '=');
        let load = read("/proc/loadavg").split(' ').next().map(str::to_owned);
        let nodes: Vec<_> = nodes.iter().map(|node| node.version.as_str()).collect();
        let lines = [
            ("processor", Some(format!("{} ({cores} cores)", model.unwrap_or_default()))),
            ("memory", memory),
            ("kernel", Some(read("/proc/sys/kernel/osrelease").trim().to_owned())),
            ("system", system.map(|name| name.trim_matches('"').to_owned())),
            ("rustc", rustc()),
            ("node", Some(nodes.join(", "))),
            ("bun", peers.bun.as_ref().map(|bun| bun.version.clone())),
            ("pm2", peers.pm2.as_ref().map(|pm2| pm2.version.clone())),
            ("load before", load),
        ];
        let known = lines.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Self(known.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// An item a line.
    pub(crate) fn list(&self) -> String {
        self.0.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect()
    }

    pub(crate) fn json(&self) -> Value {
        self.0.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
    }
}

fn rustc() -> Option<String> {
    let output = Command::new("rustc").arg("--version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split(' ').nth(1).map(str::to_owned)
}

/// The first value of that name.
fn field(text: &str, name: &str, between: char) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| line.split_once(between));
    lines.find(|(its, _)| its.trim() == name).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn the_first_value_of_a_name_is_taken() {
        let text = "processor\t: 0\nmodel name\t: A: B\nmodel name\t: C\n";
        assert_eq!(field(text, "model name", ':').as_deref(), Some("A: B"));
        assert_eq!(field(text, "cache", ':'), None);
    }
}
