//! Replays the seeds of the fuzz target `control_lines`.

#[path = "fuzz/control_lines.rs"]
mod control_lines;
#[path = "../../cluster-primary/tests/support/seeds.rs"]
mod seeds;

use seeds::replay;

#[test]
fn the_committed_lines_pass() {
    replay("control_lines", |path, seed| {
        let report = control_lines::run(seed);
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            Some("calls") => (11, 0),
            // Two more are wrong only when they are tried.
            Some("mistakes") => (3, 11),
            _ => return,
        };
        assert_eq!((report.requests, report.errors), expected, "{}", path.display());
    });
}
