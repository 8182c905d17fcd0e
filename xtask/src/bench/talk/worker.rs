//! The worker's end, on either front-end.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cluster_worker::event::{Event, EventedWorker};
use cluster_worker::{Object, Pressure, Value, Worker};
use mio::{Events, Interest, Poll, Token};

use super::Stopwatch;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// In an event loop, instead of a thread that waits
    #[arg(long)]
    evented: bool,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let outcome = if args.evented { evented() } else { blocking() };
    outcome.map(|()| ExitCode::SUCCESS).map_err(io::Error::other)
}

/// What it has been told to do with texts.
#[derive(Default)]
struct Counter {
    counts: bool,
    count: u64,
}

/// What is to be done.
enum Answer {
    Nothing,
    Say(Value),
    Flood { text: String, time: Duration },
}

impl Counter {
    fn answer(&mut self, message: Value) -> Answer {
        if message.as_str().is_some() {
            if self.counts {
                self.count += 1;
                return Answer::Nothing;
            }
            return Answer::Say(message);
        }
        let number = |name: &str| message[name].as_u64().unwrap_or(0);
        match message["do"].as_str() {
            Some("end") => Answer::Say(counted(self.count)),
            Some("flood") => {
                let text = "x".repeat(usize::try_from(number("size")).unwrap_or(0));
                Answer::Flood { text, time: Duration::from_millis(number("ms")) }
            }
            order => {
                *self = Self { counts: order == Some("count"), count: 0 };
                Answer::Nothing
            }
        }
    }
}

fn counted(count: u64) -> Value {
    Object::new().with("count", count).into()
}

fn blocking() -> Result<(), Failed> {
    let worker = Worker::from_env()?.ok_or("a primary must start this program")?;
    let mut counter = Counter::default();
    while let Some(message) = worker.recv()? {
        match counter.answer(message) {
            Answer::Nothing => {}
            Answer::Say(words) => {
                worker.send(words)?;
                // What the channel has not taken is not written by anything else.
                worker.flush()?;
            }
            Answer::Flood { text, time } => {
                let (mut watch, mut sent) = (Stopwatch::new(time, text.len()), 0);
                let corked = worker.cork();
                while !watch.is_over() {
                    if worker.send(text.as_str())? == Pressure::High {
                        worker.flush()?;
                    }
                    sent += 1;
                }
                worker.send(counted(sent))?;
                drop(corked);
                worker.flush()?;
            }
        }
    }
    Ok(())
}

/// A flood under way.
struct Flood {
    text: String,
    watch: Stopwatch,
    sent: u64,
}

fn evented() -> Result<(), Failed> {
    let mut worker = EventedWorker::from_env()?.ok_or("a primary must start this program")?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut worker, Token(0), Interest::READABLE)?;
    let mut events = Events::with_capacity(1);
    let mut counter = Counter::default();
    let mut flood = None;
    loop {
        while let Some(event) = worker.next_event() {
            match event {
                Event::Message(received) => match counter.answer(received.message) {
                    Answer::Nothing => {}
                    Answer::Say(words) => drop(worker.send(words)?),
                    Answer::Flood { text, time } => {
                        let watch = Stopwatch::new(time, text.len());
                        flood = go_on(&mut worker, Flood { text, watch, sent: 0 })?;
                    }
                },
                Event::Drained => {
                    if let Some(under_way) = flood.take() {
                        flood = go_on(&mut worker, under_way)?;
                    }
                }
                Event::Failed(error) => return Err(error.into()),
                Event::Disconnected => return Ok(()),
                _ => {}
            }
        }
        poll.poll(&mut events, worker.timeout())?;
        worker.process()?;
    }
}

/// Sends until too much waits; what is left to be done of it then.
fn go_on(
    worker: &mut EventedWorker,
    mut flood: Flood,
) -> Result<Option<Flood>, cluster_worker::SendError> {
    while !flood.watch.is_over() {
        flood.sent += 1;
        if worker.send(flood.text.as_str())? == Pressure::High {
            return Ok(Some(flood));
        }
    }
    worker.send(counted(flood.sent))?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_echoed_or_counted() {
        let mut counter = Counter::default();
        let order = |what: &str| Value::from(Object::new().with("do", what));
        assert!(matches!(counter.answer("a".into()), Answer::Say(text) if text == "a".into()));
        assert!(matches!(counter.answer(order("count")), Answer::Nothing));
        assert!(matches!(counter.answer("a".into()), Answer::Nothing));
        assert!(matches!(counter.answer(order("end")), Answer::Say(n) if n == counted(1)));
    }
}
