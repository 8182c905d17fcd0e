//! The picture: what a connection costs, and how many there are a second, case by case.

use std::fmt::Write;

use super::connections::{PRIMARY, RATE, WORKER};
use super::plan::Part;
use super::samples::{Key, Measured, Samples};

const LABELS: f64 = 290.0;
const PANEL: f64 = 300.0;
const GAP: f64 = 24.0;
/// Beside the longest bar, for its number.
const NUMBER: f64 = 92.0;
const ROW: f64 = 24.0;
const BAR: f64 = 15.0;
/// Between cases that have nothing to do with one another.
const PAUSE: f64 = 10.0;
const HEAD: f64 = 62.0;
const MARGIN: f64 = 16.0;

const STYLE: &str = "\
text { font: 12px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #24292f; }
.head { font-weight: 600; font-size: 13px; }
.quiet { fill: #57606a; }
.paper { fill: #ffffff; }
.line { stroke: #d0d7de; }
.primary { fill: #2f6aa8; }
.workers { fill: #a9c4de; }
.rate { fill: #6f9a86; }
@media (prefers-color-scheme: dark) {
  text { fill: #d6dde4; }
  .quiet { fill: #9aa4ae; }
  .paper { fill: #0d1117; }
  .line { stroke: #30363d; }
  .primary { fill: #6aa5e0; }
  .workers { fill: #35536f; }
  .rate { fill: #5f8f7a; }
}
";

struct Row<'a> {
    title: &'a str,
    group: Group<'a>,
    peer: bool,
    primary: f64,
    workers: f64,
    rate: f64,
}

/// None if no connection was measured.
pub(crate) fn draw(samples: &Samples) -> Option<String> {
    let rows: Vec<Row<'_>> = samples
        .rows(Part::Connections)
        .filter_map(|row| {
            let median =
                |metric: &str| samples.median(&Key::new(Part::Connections, &row.id, metric));
            Some(Row {
                title: &row.title,
                group: group(row),
                peer: row.peer,
                primary: median(PRIMARY)?,
                workers: median(WORKER)?,
                rate: median(RATE)?,
            })
        })
        .collect();
    let most = |of: fn(&Row<'_>) -> f64| rows.iter().map(of).max_by(f64::total_cmp);
    let scale = |most: f64| (PANEL - NUMBER) / most.max(f64::MIN_POSITIVE);
    let cost_scale = scale(most(|row| row.primary + row.workers)?);
    let rate_scale = scale(most(|row| row.rate)?);

    let cost_at = MARGIN + LABELS;
    let rate_at = cost_at + PANEL + GAP;
    let mut body = String::new();
    let mut y = HEAD;
    for (n, row) in rows.iter().enumerate() {
        if n > 0 && row.group != rows[n - 1].group {
            y += PAUSE;
        }
        let (bar, base) = (y + (ROW - BAR) / 2.0, y + ROW / 2.0 + 4.0);
        let (primary, workers) = (row.primary * cost_scale, row.workers * cost_scale);
        let class = if row.peer { " class=\"quiet\"" } else { "" };
        let label = cost_at - 8.0;
        let _ = write!(
            body,
            "<text x=\"{label}\" y=\"{base}\" text-anchor=\"end\"{class}>{}</text>\n\
             {}{}<text x=\"{:.1}\" y=\"{base}\">{:.0} + {:.0}</text>\n\
             {}<text x=\"{:.1}\" y=\"{base}\">{:.0}</text>\n",
            escaped(row.title),
            rect("primary", cost_at, bar, primary),
            rect("workers", cost_at + primary, bar, workers),
            cost_at + primary + workers + 6.0,
            row.primary,
            row.workers,
            rect("rate", rate_at, bar, row.rate * rate_scale),
            rate_at + row.rate * rate_scale + 6.0,
            row.rate,
        );
        y += ROW;
    }
    let (width, height) = (rate_at + PANEL + MARGIN, y + MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>What a connection costs, and how many there are a second</title>\n\
         <style>\n{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    text.push_str(&heads(cost_at, rate_at));
    for x in [cost_at, rate_at] {
        let (top, bottom) = (HEAD - 4.0, y + 4.0);
        let _ = writeln!(
            text,
            "<line class=\"line\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{bottom}\"/>"
        );
    }
    text.push_str(&body);
    text.push_str("</svg>\n");
    Some(text)
}

/// What rows have in common that stand together.
#[derive(PartialEq)]
enum Group<'a> {
    Node(&'a str),
    Others,
    Ours,
    Bare,
}

fn group(row: &Measured) -> Group<'_> {
    match &row.node {
        Some(version) => Group::Node(version),
        None if row.peer => Group::Others,
        None if row.id.starts_with("bare") => Group::Bare,
        None => Group::Ours,
    }
}

fn heads(cost_at: f64, rate_at: f64) -> String {
    let (first, second) = (MARGIN + 10.0, MARGIN + 30.0);
    let legend = |class: &str, x: f64, words: &str| {
        let square = format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"10\" height=\"10\"/>",
            second - 9.0
        );
        format!("{square}<text class=\"quiet\" x=\"{}\" y=\"{second}\">{words}</text>\n", x + 15.0)
    };
    format!(
        "<text class=\"head\" x=\"{cost_at}\" y=\"{first}\">CPU per connection, µs</text>\n{}{}\
         <text class=\"quiet\" x=\"{}\" y=\"{second}\">less is better</text>\n\
         <text class=\"head\" x=\"{rate_at}\" y=\"{first}\">connections/s</text>\n\
         <text class=\"quiet\" x=\"{rate_at}\" y=\"{second}\">more is better</text>\n",
        legend("primary", cost_at, "primary"),
        legend("workers", cost_at + 80.0, "workers"),
        cost_at + 164.0,
    )
}

fn rect(class: &str, x: f64, y: f64, width: f64) -> String {
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rows: &[(&str, f64, f64, f64)]) -> Option<String> {
        let mut samples = Samples::default();
        for (title, primary, workers, rate) in rows {
            let (id, title) = ((*title).to_owned(), (*title).to_owned());
            let row = Measured { part: Part::Connections, id, title, peer: false, node: None };
            let metrics = [(PRIMARY, *primary), (WORKER, *workers), (RATE, *rate)];
            samples.add(&row, metrics.map(|(name, value)| (name.to_owned(), value)));
        }
        draw(&samples)
    }

    /// The numbers of an attribute, in order.
    fn numbers(svg: &str, class: &str, attribute: &str) -> Vec<f64> {
        let bars = svg.lines().filter(|line| {
            line.starts_with(&format!("<rect class=\"{class}\"")) && line.ends_with("15\"/>")
        });
        let value = |line: &str| {
            let (_, rest) = line.split_once(&format!(" {attribute}=\""))?;
            rest.split('"').next()?.parse().ok()
        };
        bars.filter_map(value).collect()
    }

    #[test]
    fn bars_are_to_scale_and_stacked() {
        let svg = drawn(&[("a & b", 10.0, 30.0, 500.0), ("c", 20.0, 0.0, 1000.0)]).unwrap();
        let primary = numbers(&svg, "primary", "width");
        assert_eq!(primary, [52.0, 104.0]);
        assert_eq!(numbers(&svg, "workers", "width"), [156.0, 0.0]);
        assert_eq!(numbers(&svg, "workers", "x")[0], numbers(&svg, "primary", "x")[0] + 52.0);
        assert_eq!(numbers(&svg, "rate", "width"), [104.0, 208.0]);
        assert!(svg.contains("a &amp; b") && svg.contains(">10 + 30<"));
    }

    #[test]
    fn rows_do_not_overlap() {
        let svg = drawn(&[("a", 1.0, 1.0, 1.0), ("b", 1.0, 1.0, 1.0)]).unwrap();
        let y = numbers(&svg, "rate", "y");
        assert!(y[1] - y[0] >= BAR, "{y:?}");
        assert_eq!(drawn(&[]), None);
    }
}
