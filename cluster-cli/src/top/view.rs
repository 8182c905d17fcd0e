//! Draws the screen.

use cluster_primary::printable::one_line;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, RenderDirection, Row, Sparkline, Table};

use super::columns::Column;
use super::screen::Screen;
use crate::status::units::{bytes, count, many, or_dash, percent, rate, time};
use crate::status::{State, Status, Vacant, WorkerState};

const KEYS: &str = "q quit  s sort  r reload  +/- scale  ↑↓ scroll";

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let tall = frame.area().height >= 16;
    let [head, chart, workers, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(if tall { 6 } else { 0 }),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let Some(status) = &screen.status else {
        let why = match &screen.trouble {
            Some(why) => Line::from(one_line(why).into_owned()).red(),
            None => Line::from("connecting…"),
        };
        frame.render_widget(Paragraph::new(why).wrap(ratatui::widgets::Wrap { trim: true }), head);
        draw_foot(frame, screen, foot);
        return;
    };
    draw_head(frame, status, screen, head);
    draw_chart(frame, screen, chart);
    draw_workers(frame, status, screen, workers);
    draw_foot(frame, screen, foot);
}

fn draw_head(frame: &mut Frame<'_>, status: &Status, screen: &Screen, area: Rect) {
    let mut first = vec!["cluster ".bold()];
    first.extend(status.pid.map(|pid| Span::raw(format!("{pid} "))));
    first.push(Span::styled(status.state.as_str().to_owned(), state_style(&status.state)).bold());
    first.push(match status.unready().is_none() {
        true => ", ready".green(),
        false => ", not ready".red(),
    });
    let mut more = vec![status.readiness()];
    more.extend(status.uptime_ms.map(|ms| format!("up {}", time(ms))));
    more.extend(status.generations());
    more.extend(status.placing());
    if status.reload_failure.is_some() {
        first.push(Span::raw(", "));
        first.push("last reload failed".red());
    }
    first.push(Span::raw(format!("; {}", more.join("; "))));

    let rates = &screen.rates;
    let totals = &status.totals;
    let second = [
        Some(format!("{} connections/s", or_dash(rates.connections, rate))),
        rates.requests.map(|requests| format!("{} requests/s", rate(requests))),
        totals.handed_over.map(|n| format!("{} handed over", count(n))),
        totals.waiting.map(|n| format!("{} waiting", count(n))),
        shed(status).map(|n| format!("{} shed", count(n))),
        totals.restarts.map(|n| many(n, "restart")),
        totals.boot_failures.filter(|n| *n > 0).map(|n| format!("{} failed to start", count(n))),
    ];
    let primary = &status.primary;
    let third = [
        Some(format!("workers CPU {}", or_dash(rates.cpu, percent))),
        Some(format!("primary CPU {}", or_dash(rates.primary_cpu, percent))),
        primary.rss_bytes.map(|rss| format!("RSS {}", bytes(rss))),
        primary.open_descriptors.map(|open| many(open, "descriptor")),
    ];
    let third = match &screen.trouble {
        Some(why) => {
            let why = one_line(why);
            Line::from(format!("not reached, tried again: {why}")).red().bold()
        }
        None if status.paused().is_some() => {
            Line::from(status.paused().unwrap_or_default()).red().bold()
        }
        None => Line::from(third.into_iter().flatten().collect::<Vec<_>>().join(", ")),
    };
    let lines = vec![
        Line::from(first),
        Line::from(second.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        third,
    ];
    frame.render_widget(Paragraph::new(lines), area);
}

fn shed(status: &Status) -> Option<u64> {
    let totals = &status.totals;
    [totals.shed_full, totals.shed_closed, totals.shed_refused]
        .into_iter()
        .flatten()
        .reduce(|a, b| a + b)
}

fn draw_chart(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let shown = usize::from(area.width);
    let most = screen.history.iter().take(shown).max().copied().unwrap_or_default();
    let title = format!(" connections/s, at most {} ", count(most));
    let history: Vec<_> = screen.history.iter().take(shown).copied().collect();
    let chart = Sparkline::default()
        .block(Block::new().borders(ratatui::widgets::Borders::TOP).title(title))
        .data(history)
        .max(most.max(1))
        .direction(RenderDirection::RightToLeft)
        .style(Style::new().cyan());
    frame.render_widget(chart, area);
}

fn draw_workers(frame: &mut Frame<'_>, status: &Status, screen: &Screen, area: Rect) {
    let columns = Column::that_fit(area.width, status.has_agents());
    let mut workers: Vec<_> =
        status.workers.iter().map(|worker| (worker, screen.rates.of(worker))).collect();
    workers.sort_by(|a, b| screen.sort.order(*a, *b));

    let aligned = |column: Column, text: String| {
        let alignment = if column.is_words() { Alignment::Left } else { Alignment::Right };
        Cell::from(Line::from(text).alignment(alignment))
    };
    let heads = columns.iter().map(|column| {
        let mark = if *column == screen.sort { "▾" } else { "" };
        aligned(*column, format!("{}{mark}", column.head()))
    });
    let worker_rows = workers.into_iter().map(|(worker, rates)| {
        let cells = columns.iter().map(|column| {
            let cell = aligned(*column, column.cell(worker, rates));
            match column {
                Column::State => cell.style(worker_style(&worker.state)),
                _ => cell,
            }
        });
        Row::new(cells.collect::<Vec<_>>())
    });
    let mut rows: Vec<_> = worker_rows.skip(screen.above).collect();
    let vacant = status.vacant.iter().skip(screen.above.saturating_sub(status.workers.len()));
    let vacant: Vec<_> = vacant.map(vacancy).collect();
    let room = usize::from(area.height).saturating_sub(1);
    // Slots without a worker have lines of their own, beneath, across all columns.
    let beneath = room.saturating_sub(rows.len()).min(vacant.len());
    rows.truncate(room);
    let [table, below] = Layout::vertical([
        Constraint::Length(u16::try_from(rows.len() + 1).unwrap_or(u16::MAX)),
        Constraint::Length(u16::try_from(beneath).unwrap_or(u16::MAX)),
    ])
    .areas(area);
    let widths = columns.iter().map(|column| Constraint::Length(column.width()));
    let mut head = Style::new().add_modifier(Modifier::REVERSED);
    let mut body = Style::new();
    if screen.trouble.is_some() {
        // What is shown is not so any more.
        head = head.dim();
        body = body.dim();
    }
    let workers =
        Table::new(rows, widths).header(Row::new(heads).style(head)).column_spacing(1).style(body);
    frame.render_widget(workers, table);
    let vacant: Vec<_> =
        vacant.into_iter().take(beneath).map(|text| Line::from(text).red()).collect();
    frame.render_widget(Paragraph::new(vacant).style(body), below);
}

fn vacancy(slot: &Vacant) -> String {
    let mut items = vec![format!("{:>5} vacant", slot.slot)];
    items.extend(slot.failures.filter(|n| *n > 0).map(|n| many(n, "failure")));
    items.extend(slot.last_death.as_deref().map(|death| one_line(death).into_owned()));
    items.extend(slot.retry_in_ms.map(|ms| format!("again in {}", time(ms))));
    items.join(", ")
}

fn draw_foot(frame: &mut Frame<'_>, screen: &Screen, area: Rect) {
    let mut line = vec![Span::raw(KEYS).dim()];
    if let Some(message) = &screen.message {
        line.push(Span::raw("  "));
        line.push(Span::raw(one_line(message).into_owned()).bold());
    }
    frame.render_widget(Line::from(line), area);
}

fn state_style(state: &State) -> Style {
    match state {
        State::Running => Color::Green.into(),
        State::GaveUp => Color::Red.into(),
        _ => Color::Yellow.into(),
    }
}

fn worker_style(state: &WorkerState) -> Style {
    match state {
        ready if ready.is_ready() => Color::Green.into(),
        WorkerState::Stuck | WorkerState::Stopped => Color::Red.into(),
        _ => Color::Yellow.into(),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::status::tests::{full, without_agents};

    /// The full status after a few seconds of business.
    fn screen() -> Screen {
        let mut screen = Screen::default();
        let mut status = full();
        screen.heard(status.clone());
        for n in [10u64, 40, 80, 40, 120, 60] {
            status.uptime_ms = status.uptime_ms.map(|ms| ms + 1000);
            status.totals.handed_over = status.totals.handed_over.map(|all| all + n);
            status.workers[0].connections = status.workers[0].connections.map(|all| all + n);
            status.workers[0].cpu_ms = status.workers[0].cpu_ms.map(|ms| ms + n);
            if let Some(agent) = &mut status.workers[0].agent {
                agent.requests = agent.requests.map(|all| all + 3 * n);
            }
            screen.heard(status.clone());
        }
        screen
    }

    fn terminal(screen: &Screen, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, screen)).unwrap();
        terminal
    }

    fn lines(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let terminal = terminal(screen, width, height);
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        let lines = lines(&screen(), 130, 20);
        let expected = include_str!("wide.txt");
        assert_eq!(lines.join("\n"), expected.trim_end_matches('\n'), "\n{}\n", lines.join("\n"));
    }

    #[test]
    fn without_agents_nothing_is_shown_of_requests() {
        let mut screen = Screen::default();
        screen.heard(without_agents());
        let shown = lines(&screen, 130, 20).join("\n");
        for word in ["requests/s", "REQ/S", "ACTIVE", "DELAY", "HEAP"] {
            assert!(!shown.contains(word), "{word}: {shown}");
        }
    }

    #[test]
    fn a_narrow_terminal_shows_less_of_it() {
        let lines = lines(&screen(), 48, 12);
        let expected = include_str!("narrow.txt");
        assert_eq!(lines.join("\n"), expected.trim_end_matches('\n'), "\n{}\n", lines.join("\n"));
    }

    #[test]
    fn no_terminal_is_too_small_and_nothing_too_much() {
        let mut many = screen();
        let mut status = full();
        let worker = status.workers[0].clone();
        status.workers = vec![worker; 1000];
        many.heard(status);
        for screen in [screen(), many, Screen::default()] {
            for (width, height) in [(1, 1), (5, 3), (20, 5), (80, 24), (500, 200)] {
                lines(&screen, width, height);
            }
        }
    }

    #[test]
    fn states_have_colours() {
        let terminal = terminal(&screen(), 100, 20);
        let buffer = terminal.backend().buffer();
        let mut found = Vec::new();
        for y in 0..20 {
            let line: String = (0..100).map(|x| buffer[(x, y)].symbol()).collect();
            for (word, colour) in
                [(" ready ", Color::Green), ("retiring", Color::Yellow), ("stuck", Color::Red)]
            {
                if let Some(at) = line.find(word).filter(|_| y > 9) {
                    let x = u16::try_from(line[..at].chars().count() + 1).unwrap();
                    assert_eq!(buffer[(x, y)].fg, colour, "{line}");
                    found.push(word);
                }
            }
        }
        assert_eq!(found, [" ready ", "retiring", "stuck"]);
    }

    #[test]
    fn a_cluster_that_has_gone_is_said_to_be() {
        let mut screen = screen();
        screen.lost("cannot connect to /x: its cluster has gone".into());
        let shown = lines(&screen, 100, 20).join("\n");
        assert!(shown.contains("not reached, tried again: cannot connect to /x"), "{shown}");
        assert!(shown.contains("3596"), "what was known last stays: {shown}");
        let mut never = Screen::default();
        assert!(lines(&never, 80, 24)[0].contains("connecting"));
        never.lost("no cluster is found".into());
        assert!(lines(&never, 80, 24)[0].contains("no cluster is found"));
    }

    #[test]
    fn what_workers_have_named_is_escaped() {
        let mut screen = screen();
        let mut status = full();
        status.vacant[0].last_death = Some("cannot listen on /\u{1b}[2J\u{202e}x".into());
        status.hand_offs_paused = Some("worker \u{9b}2J has most".into());
        screen.heard(status);
        let shown = lines(&screen, 130, 20).join("\n");
        assert!(shown.contains(r"/\u{1b}[2J\u{202e}x"), "{shown}");
        assert!(shown.contains(r"handing over connections is paused: worker \u{9b}2J"), "{shown}");
    }

    #[test]
    fn the_sorted_column_is_marked() {
        let mut screen = screen();
        screen.sort = Column::Cpu;
        assert!(lines(&screen, 100, 20).iter().any(|line| line.contains("CPU▾")));
    }

    #[test]
    fn what_is_scrolled_away_is_not_shown() {
        let mut screen = screen();
        screen.above = 3;
        let shown = lines(&screen, 100, 20).join("\n");
        assert!(!shown.contains("3601") && shown.contains("3326"), "{shown}");
        assert!(shown.contains("2 vacant"), "{shown}");
        screen.above = 4;
        let shown = lines(&screen, 100, 20).join("\n");
        assert!(!shown.contains("3326") && shown.contains("2 vacant"), "{shown}");
    }
}
