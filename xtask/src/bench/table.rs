//! Tables for people: Markdown that can be read as it is, in a terminal too.

use std::fmt::Write;

use super::plan::Part;
use super::samples::{Key, Measured, Samples};

/// Which of two numbers is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// A column of a part's table.
pub(crate) struct Column {
    pub(crate) metric: String,
    pub(crate) digits: usize,
    /// Whether a column follows that compares it with the best peer, and which is best.
    pub(crate) peer: Option<Better>,
    /// Whether a column follows that compares it with this row.
    pub(crate) row: Option<&'static str>,
}

impl Column {
    pub(crate) fn plain(metric: impl Into<String>, digits: usize) -> Self {
        Self { metric: metric.into(), digits, peer: None, row: None }
    }

    pub(crate) fn against_peers(mut self, better: Better) -> Self {
        self.peer = Some(better);
        self
    }

    pub(crate) fn against(mut self, row: &'static str) -> Self {
        self.row = Some(row);
        self
    }
}

/// The medians of a part, row by row; empty if nothing of it was measured.
pub(crate) fn of_part(samples: &Samples, part: Part, first: &str, columns: &[Column]) -> String {
    let mut heads = vec![first.to_owned()];
    for column in columns {
        heads.push(column.metric.clone());
        heads.extend(column.peer.map(|_| "× peer".to_owned()));
        heads.extend(column.row.map(|_| "× bare".to_owned()));
    }
    let rows: Vec<Vec<String>> = samples
        .rows(part)
        .map(|row| {
            let mut cells = vec![row.title.clone()];
            for column in columns {
                let key = Key::new(part, &row.id, &column.metric);
                cells.push(number(samples.median(&key), column.digits));
                if let Some(better) = column.peer {
                    let peer = best_peer(samples, row, &column.metric, better);
                    let ratio = peer.and_then(|peer| samples.ratio(&key, &peer));
                    cells.push(number(ratio, 2));
                }
                if let Some(to) = column.row {
                    let ratio = samples.ratio(&key, &Key::new(part, to, &column.metric));
                    cells.push(number(ratio, 2));
                }
            }
            cells
        })
        .collect();
    if rows.is_empty() { String::new() } else { render(&heads, &rows) }
}

/// The peer that is best at it: among those with the same Node's workers, if it has Node's.
fn best_peer(samples: &Samples, row: &Measured, metric: &str, better: Better) -> Option<Key> {
    samples
        .rows(row.part)
        .filter(|peer| peer.peer && (row.node.is_none() || peer.node == row.node))
        .filter_map(|peer| {
            let key = Key::new(row.part, &peer.id, metric);
            let value = samples.median(&key)?;
            Some((if better == Better::More { -value } else { value }, key))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

/// A table whose first column is text and whose others are numbers.
pub(crate) fn render(heads: &[String], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).chain(heads.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for (at, width) in widths.iter().enumerate() {
            let cell = cells.get(at).map_or("", String::as_str);
            let _ = match at {
                0 => write!(text, "| {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
        }
        text.push('\n');
    };
    line(heads);
    let rules = widths.iter().enumerate();
    line(
        &rules
            .map(|(at, width)| match at {
                0 => "-".repeat(*width),
                _ => format!("{}:", "-".repeat(width - 1)),
            })
            .collect::<Vec<_>>(),
    );
    rows.iter().for_each(|row| line(row));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, peer: bool, node: Option<&str>) -> Measured {
        let node = node.map(str::to_owned);
        Measured { part: Part::Connections, id: id.into(), title: id.into(), peer, node }
    }

    #[test]
    fn columns_are_aligned_and_what_is_missing_is_a_dash() {
        let heads = ["case".to_owned(), "conn/s".to_owned()];
        let rows = [vec!["×".to_owned(), number(Some(12_345.6), 0)], vec!["ab".into()]];
        assert_eq!(
            render(&heads, &rows),
            "| case | conn/s |\n| ---- | -----: |\n| ×    |  12346 |\n| ab   |        |\n"
        );
        assert_eq!(number(None, 1), "–");
    }

    #[test]
    fn each_is_compared_with_the_best_peer_of_its_node_and_with_the_bare_loop() {
        let mut samples = Samples::default();
        for (row, rate) in [
            (row("node-20", true, Some("20")), 50.0),
            (row("pm2-20", true, Some("20")), 100.0),
            (row("bun", true, None), 400.0),
            (row("ours-20", false, Some("20")), 200.0),
            (row("ours", false, None), 200.0),
            (row("bare", false, None), 800.0),
        ] {
            samples.add(&row, [("rate".to_owned(), rate)]);
        }
        let column = Column::plain("rate", 0).against_peers(Better::More).against("bare");
        let table = of_part(&samples, Part::Connections, "case", &[column]);
        let cells = |name: &str| -> Vec<String> {
            let line = table.lines().find(|line| line.starts_with(&format!("| {name} ")));
            line.unwrap().split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        assert_eq!(cells("ours-20")[2..5], ["200", "2.00", "0.25"]);
        assert_eq!(cells("ours")[2..5], ["200", "0.50", "0.25"]);
        assert_eq!(cells("pm2-20")[2..5], ["100", "1.00", "0.12"]);
    }

    #[test]
    fn a_part_that_was_not_measured_has_no_table() {
        assert_eq!(of_part(&Samples::default(), Part::Memory, "case", &[]), "");
    }
}
