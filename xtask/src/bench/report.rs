//! What was measured, as text, as JSON, and in the docs.

use std::fs;
use std::io;

use serde_json::{Value, json};

use super::bars::{self, Bar, Judged};
use super::machine::Machine;
use super::notes::Notes;
use super::plan::{Bench, Part};
use super::samples::Samples;
use super::table::of_part;
use super::{
    agent, at_rest, bare, connections, effort::WORKERS, hostile, kept_alive, load::CLIENTS,
    messages, refusing, startup, svg,
};
use crate::step;

pub(crate) struct Report<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
    pub(crate) samples: Samples,
    pub(crate) bars: Vec<Bar>,
    pub(crate) notes: Notes,
}

const PAGE: &str = "docs/bench.md";
const PICTURE: &str = "docs/bench.svg";

impl Report<'_> {
    /// For people, in Markdown.
    pub(crate) fn text(&self) -> String {
        let effort = &self.bench.effort;
        let mut text = format!(
            "Medians of {} interleaved rounds; a ratio is the median of the rounds' ratios.\n\n{}",
            effort.rounds,
            self.machine.list()
        );
        if self.quick {
            text.push_str("\n**A smoke run (`--quick`): these numbers mean little.**\n");
        }
        let peers = "`× peer`: to the best of the others (with Node's workers: of those with the \
                     same Node)";
        let sections = [
            (
                format!(
                    "Connections: {WORKERS} workers, {CLIENTS} clients, {} connections a round, {} \
                     one after the other for `sequential`. CPU time is per connection. {peers}; \
                     `× bare`: to the bare loop. `balance`, `sequential`: the busiest worker's \
                     connections over the mean.",
                    effort.connections, effort.sequential
                ),
                of_part(&self.samples, Part::Connections, "case", &connections::columns()),
            ),
            (
                format!("Messages: of 64 bytes, and of 1 MiB; one call of `send` each. {peers}."),
                of_part(&self.samples, Part::Messages, "case", &messages::columns()),
            ),
            (
                "Start: from the start of the primary until all workers listen.".to_owned(),
                of_part(&self.samples, Part::Startup, "case", &startup::columns(self.bench)),
            ),
            (
                "A primary at rest, its workers small Rust programs that listen: KiB. `dirty`: \
                 private and written to."
                    .to_owned(),
                of_part(&self.samples, Part::Memory, "primary", &at_rest::columns(self.bench)),
            ),
            (
                format!(
                    "A lone worker that refuses all but one connection, for {:.1} s: CPU time, of \
                     one processor.",
                    effort.refusing.as_secs_f64()
                ),
                of_part(&self.samples, Part::Refusing, "case", &refusing::columns()),
            ),
            (
                format!(
                    "A well-behaved worker that is probed every 20 ms for {:.1} s, beside one that attacks \
                     the primary (the attacks are those of `cluster-cli/tests/fixtures/hostile`).",
                    effort.hostile.as_secs_f64()
                ),
                of_part(&self.samples, Part::Hostile, "attack", &hostile::columns()),
            ),
            (
                format!(
                    "The agent of Node workers: means with it (`cluster run`) and without it \
                     (`--node-agent=false`), and the mean of the pairs' differences. Start-up: of one \
                     worker, from its fork until it listens. Request: of the worker, on {} kept-alive \
                     connections, {} requests a pair and side.",
                    kept_alive::CONNECTIONS,
                    agent::TURNS * effort.agent_requests
                ),
                agent::render(&self.samples),
            ),
        ];
        for (words, table) in sections.iter().filter(|(_, table)| !table.is_empty()) {
            text.push_str(&format!("\n{words}\n\n{table}"));
        }
        if !self.bars.is_empty() {
            text.push_str(&format!("\n{}", bars::render(&self.judged())));
        }
        text.extend(self.notes.lines().iter().map(|note| format!("\n{note}\n")));
        text
    }

    fn judged(&self) -> Vec<Judged> {
        self.bars.iter().map(|bar| bar.judge(&self.samples)).collect()
    }

    /// Every number of every round.
    pub(crate) fn json(&self) -> Value {
        let samples = self.samples.all().map(|(key, values)| {
            let part = key.part.to_string();
            json!({ "part": part, "row": key.row, "metric": key.metric, "values": values })
        });
        let bars = self.judged().into_iter().map(|bar| {
            json!({ "bar": bar.what, "limit": bar.limit, "measured": bar.measured, "met": bar.met })
        });
        json!({
            "machine": self.machine.json(),
            "quick": self.quick,
            "rounds": self.bench.effort.rounds,
            "samples": samples.collect::<Value>(),
            "bars": bars.collect::<Value>(),
            "notes": self.notes.lines(),
        })
    }

    /// Writes the results into the docs, and the picture beside them.
    pub(crate) fn save(&self) -> io::Result<()> {
        let path = step::root().join(PAGE);
        let page = fs::read_to_string(&path)?;
        let picture = svg::draw(&self.samples);
        let shown = picture.as_ref().map_or("", |_| "![](bench.svg)\n\n");
        let page = replaced(&page, "results", &format!("{shown}{}", self.text()))?;
        let page = replaced(&page, "bare loop", &bare_loop())?;
        fs::write(&path, page)?;
        println!("saved: {PAGE}");
        if let Some(picture) = picture {
            fs::write(step::root().join(PICTURE), picture)?;
            println!("saved: {PICTURE}");
        }
        Ok(())
    }
}

fn bare_loop() -> String {
    format!("```rust\n{}```\n", bare::LOOP)
}

/// A page whose text between `<!-- name -->` and `<!-- /name -->` is another.
fn replaced(page: &str, name: &str, text: &str) -> io::Result<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = page.split_once(&begin).unzip();
    let after = rest.and_then(|rest| rest.split_once(&end)).map(|(_, after)| after);
    match (before, after) {
        (Some(before), Some(after)) => Ok(format!("{before}{begin}{text}{end}{after}")),
        _ => Err(io::Error::other(format!("{PAGE} has no place for: {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> String {
        fs::read_to_string(step::root().join(PAGE)).unwrap()
    }

    #[test]
    fn what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        assert_eq!(replaced(page, "x", "new\n").unwrap(), page.replace("old", "new"));
        assert!(replaced(page, "y", "").is_err());
    }

    #[test]
    fn the_docs_show_the_loop_as_it_is() {
        let page = page();
        let message = "`cargo xtask bench --save` would change the loop in docs/bench.md";
        assert!(replaced(&page, "bare loop", &bare_loop()).unwrap() == page, "{message}");
        assert!(page.contains("<!-- results -->\n"));
    }
}
