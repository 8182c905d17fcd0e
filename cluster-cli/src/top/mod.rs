//! `cluster top`: a live view of a cluster.

mod columns;
mod rates;
mod screen;
mod view;
mod watch;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use ratatui::crossterm::terminal::is_raw_mode_enabled;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::args::{Top, Whose};
use crate::status::Status;
use screen::{Command, Screen, Step};

const FAILED: u8 = 1;

/// What threads tell the one that draws.
enum Heard {
    Status(Box<Status>),
    /// The cluster cannot be asked, and why.
    Lost(String),
    /// What became of a command.
    Answered(Command, Result<(), String>),
    Key(KeyEvent),
    /// The terminal has another size.
    Resized,
    /// It is to end: a signal came, or the terminal has gone.
    End,
    /// A thread has panicked, and said so.
    Broken,
}

pub(crate) fn top(args: Top) -> ExitCode {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        eprintln!(
            "cluster top: standard input or output is not a terminal; cluster status prints the state once"
        );
        return ExitCode::from(FAILED);
    }
    match shown(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster top: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn shown(args: Top) -> io::Result<()> {
    let (tell, heard) = mpsc::channel();
    // Before the terminal is changed: from here on no signal leaves it so.
    listen_to_signals(tell.clone())?;
    let mut terminal = Screened::enter()?;
    let keys = tell.clone();
    spawn("keys", &tell, move || listen_to_keys(&keys))?;
    let (whose, interval, watcher) = (args.whose.clone(), args.interval.0, tell.clone());
    spawn("watch", &tell, move || watch::watch(whose, interval, watcher))?;
    follow(&mut terminal.0, &args.whose, &heard, &tell)
}

fn follow(
    terminal: &mut DefaultTerminal,
    whose: &Whose,
    heard: &Receiver<Heard>,
    tell: &Sender<Heard>,
) -> io::Result<()> {
    let mut screen = Screen::default();
    loop {
        terminal.draw(|frame| view::draw(frame, &screen))?;
        let Ok(first) = heard.recv() else { return Ok(()) };
        // What came at the same time is drawn at once.
        for news in std::iter::once(first).chain(heard.try_iter()) {
            match news {
                Heard::Status(status) => screen.heard(*status),
                Heard::Lost(why) => screen.lost(why),
                Heard::Answered(command, outcome) => screen.answered(command, outcome),
                Heard::Resized => {}
                Heard::End => return Ok(()),
                Heard::Broken => return Err(io::Error::other("a mistake of its own ends it")),
                Heard::Key(key) => match screen.key(key) {
                    Some(Step::Quit) => return Ok(()),
                    Some(Step::Ask(command)) => {
                        let (whose, answer) = (whose.clone(), tell.clone());
                        spawn("ask", tell, move || watch::ask(whose, command, answer))?;
                    }
                    None => {}
                },
            }
        }
    }
}

/// The terminal as a screen of ours; as it was again when this goes, and also at a panic, by the
/// hook that ratatui sets.
struct Screened(DefaultTerminal);

impl Screened {
    fn enter() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screened {
    fn drop(&mut self) {
        // To leave twice would set the cursor back to where it was at the beginning, over what a panic
        // has said since.
        if is_raw_mode_enabled().unwrap_or(true) {
            ratatui::restore();
        }
    }
}

/// Runs it in a thread. Should it panic, which gives the terminal back, all ends.
fn spawn(name: &str, tell: &Sender<Heard>, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    struct Guard(Sender<Heard>);
    impl Drop for Guard {
        fn drop(&mut self) {
            if thread::panicking() {
                let _ = self.0.send(Heard::Broken);
            }
        }
    }
    let guard = Guard(tell.clone());
    thread::Builder::new().name(name.into()).spawn(move || {
        let _guard = guard;
        run();
    })?;
    Ok(())
}

fn listen_to_signals(tell: Sender<Heard>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let listened = tell.clone();
    spawn("signals", &listened, move || {
        for _ in signals.forever() {
            if tell.send(Heard::End).is_err() {
                return;
            }
        }
    })
}

fn listen_to_keys(tell: &Sender<Heard>) {
    loop {
        let news = match event::read() {
            Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => Heard::Key(key),
            Ok(Event::Resize(..)) => Heard::Resized,
            Ok(_) => continue,
            Err(_) => Heard::End,
        };
        let end = matches!(news, Heard::End);
        if tell.send(news).is_err() || end {
            return;
        }
    }
}
