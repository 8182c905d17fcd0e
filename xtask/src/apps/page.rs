//! `docs/apps.md`: how to read the table, and the table. A run replaces its own rows and keeps the others.

use std::fmt;
use std::fs;
use std::io;

use clap::ValueEnum;

use super::catalog::{self, App};
use super::outcome::{Played, losses};
use super::placement::Placement;
use crate::node::Node;
use crate::step;

const PAGE: &str = "docs/apps.md";

const INTRODUCTION: &str = "\
# Real applications

`cargo xtask apps` installs packages from npm and runs a typical program for each (`xtask/apps`) under `cluster run -n 2`. It performs two
`cluster reload`s under load, and then sends SIGTERM to `cluster run`. Each program has something that keeps it alive (an interval, a pool
of threads or connections) and a SIGTERM handler that does the framework's documented shutdown and then an asynchronous clean-up.

```console
$ cargo xtask apps                                          # every app, placement handoff
$ cargo xtask apps --placement handoff,kernel,shared
$ cargo xtask apps --only express,ws --node 26              # replaces these rows below
$ cargo xtask apps --check --only express,nest,ws,http2,undici --node 26    # what CI runs: fails at any fault
```

The Node versions are those that `CLUSTER_TEST_NODES` names (separated as in `PATH`), or the one on `PATH`. Packages are installed by npm
below `target/apps`. If there is no prebuilt binary of `better-sqlite3`, npm compiles it, which takes minutes and needs a C++ compiler.

| column | meaning |
| --- | --- |
| reload per worker | the duration of both reloads, divided by the number of workers they replaced |
| lost, fresh | requests lost by 4 clients that open a connection for each request: refused, reset, cut off, or answered with an error |
| lost, kept | the same for 4 clients that keep their connections and never pause. *Retried* are requests whose kept connection was already closed when they arrived (the server's kernel refused the data, or an HTTP/2 GOAWAY excluded the stream); every client repeats those, and they do not count as lost |
| handler run, clean-up finished | workers in which the SIGTERM handler started, and in which its clean-up finished; of all workers, including those that the final stop ended |
| exit status | of `cluster run` at the end: 3 means that workers were killed after the grace period |

For `ws` and `socket.io` a request is a message that is echoed on a WebSocket connection. The program's handler has to close the connections
of kept clients (`ws`: close code 1001); such a client then connects again and repeats its message (*retried*).

";

const HEADER: [&str; 10] = [
    "app",
    "Node",
    "placement",
    "reload per worker",
    "lost, fresh",
    "lost, kept",
    "handler run",
    "clean-up finished",
    "exit status",
    "notes",
];

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// One for each column.
    cells: Vec<String>,
}

impl Row {
    pub(crate) fn new(app: &App, node: &Node, placement: Placement, played: &Played) -> Self {
        let name = |version: &str| match app.packages {
            [] => format!("{} (Node's own)", app.name),
            _ => format!("{} {version}", app.name),
        };
        let run = |name, rest: [String; 7]| {
            let first = [name, node.version.clone(), placement.to_string()];
            Self { cells: first.into_iter().chain(rest).collect() }
        };
        match played {
            Ok((version, outcome)) => {
                let [handlers, cleaned, workers] = outcome.shutdowns();
                let status = outcome.status;
                let rest = [
                    format!("{:.2} s", outcome.per_worker().as_secs_f64()),
                    losses(&outcome.tally.fresh),
                    losses(&outcome.tally.kept),
                    format!("{handlers} of {workers}"),
                    format!("{cleaned} of {workers}"),
                    status.code().map_or(status.to_string(), |code| code.to_string()),
                    outcome.notes(),
                ];
                run(name(version), rest)
            }
            Err(why) => {
                let mut rest = std::array::from_fn(|_| "–".to_owned());
                rest[6] = why.replace('|', "/").replace('\n', " ");
                run(app.name.to_owned(), rest)
            }
        }
    }

    /// One that was written; none if the line is no row of this table.
    fn parse(line: &str) -> Option<Self> {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let row = Self { cells: cells.map(|cell| cell.trim().to_owned()).collect() };
        (row.cells.len() == HEADER.len() && row.place().is_some()).then_some(row)
    }

    /// What the row is about, in the order of the table: app, major version of Node, placement.
    fn place(&self) -> Option<[usize; 3]> {
        let app = self.cells[0].split(' ').next()?;
        let app = catalog::ALL.iter().position(|it| it.name == app)?;
        let node = self.cells[1].split('.').next()?.parse().ok()?;
        let placements = Placement::value_variants();
        let placement = placements.iter().position(|it| it.to_string() == self.cells[2])?;
        Some([app, node, placement])
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} |", self.cells.join(" | "))
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = format!("| {} |\n|{}\n", HEADER.join(" | "), " --- |".repeat(HEADER.len()));
    rows.iter().for_each(|row| table += &format!("{row}\n"));
    table
}

#[derive(Debug)]
pub(crate) struct Page {
    rows: Vec<Row>,
}

impl Page {
    /// # Errors
    /// If it is there and cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        match fs::read_to_string(step::root().join(PAGE)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { rows: Vec::new() }),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Self {
        Self { rows: text.lines().filter_map(Row::parse).collect() }
    }

    /// Adds a row, in the place of the one that was about the same.
    pub(crate) fn put(&mut self, row: Row) {
        self.rows.retain(|it| it.place() != row.place());
        self.rows.push(row);
        self.rows.sort_by_key(Row::place);
    }

    fn text(&self) -> String {
        format!("{INTRODUCTION}{}", table(&self.rows))
    }

    pub(crate) fn write(&self) -> io::Result<()> {
        fs::write(step::root().join(PAGE), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::good;
    use super::*;

    fn app(name: &str) -> &'static App {
        catalog::ALL.iter().find(|app| app.name == name).unwrap()
    }

    fn row(name: &str, version: &str, placement: Placement) -> Row {
        let node = Node { path: "node".into(), version: version.to_owned() };
        Row::new(app(name), &node, placement, &Ok(("5.3.0".to_owned(), good())))
    }

    #[test]
    fn a_row_has_each_column_and_is_read_as_it_was_written() {
        let row = row("express", "26.1.0", Placement::Handoff);
        let line = "| express 5.3.0 | 26.1.0 | handoff | 0.40 s | 0 of 100 | 0 of 200 | 2 of 2 | 2 of 2 | 0 |  |";
        assert_eq!(row.to_string(), line);
        assert_eq!(Row::parse(line), Some(row));
        let node = Node { path: "node".into(), version: "20.2.0".to_owned() };
        let failed = Row::new(app("http2"), &node, Placement::Kernel, &Err("a | b\nc".to_owned()));
        assert!(failed.to_string().ends_with("| – | – | a / b c |"), "{failed}");
        assert_eq!(Row::parse(&failed.to_string()), Some(failed));
    }

    #[test]
    fn a_run_replaces_its_rows_and_keeps_the_others() {
        let mut page = Page::parse("");
        for (name, version, placement) in [
            ("ws", "20.1.0", Placement::Shared),
            ("ws", "20.1.0", Placement::Handoff),
            ("ws", "9.0.0", Placement::Handoff),
            ("express", "26.1.0", Placement::Handoff),
            ("ws", "20.2.0", Placement::Handoff),
        ] {
            page.put(row(name, version, placement));
            page = Page::parse(&page.text());
        }
        let rows: Vec<_> = page.rows.iter().map(|row| row.cells[..3].join(" ")).collect();
        let expected = [
            "express 5.3.0 26.1.0 handoff",
            "ws 5.3.0 9.0.0 handoff",
            "ws 5.3.0 20.2.0 handoff",
            "ws 5.3.0 20.1.0 shared",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn the_page_is_as_it_would_be_written() {
        let text = fs::read_to_string(step::root().join(PAGE)).unwrap();
        let page = Page::parse(&text);
        assert!(!page.rows.is_empty() && page.text() == text, "run `cargo xtask apps`");
    }
}
