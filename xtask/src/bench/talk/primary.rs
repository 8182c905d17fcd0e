//! The primary's end.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cluster_primary::{
    Event, Object, Pressure, Primary, SendError, Serialization, Settings, Value, WorkerId,
};
use serde_json::json;

use super::{AT_ONCE, LARGE, SMALL, Stopwatch};
use crate::step;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// `json` or `advanced`
    serialization: String,
    /// How long each measurement takes
    millis: u64,
    /// Only what has this in its name, for a profile: `small toWorker`
    #[arg(long, default_value = "")]
    only: String,
    /// Run the worker under this interpreter
    #[arg(long)]
    exec_path: Option<PathBuf>,
    /// The worker and its arguments
    #[arg(trailing_var_arg = true, required = true)]
    worker: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let mut settings = Settings::new(&args.worker[0]).args(args.worker[1..].iter().cloned());
    settings.exec_path = args.exec_path.clone();
    if args.serialization == "advanced" {
        settings.serialization = Serialization::Advanced;
    }
    let mut primary = Primary::new(settings)?;
    let worker = primary.fork().map_err(io::Error::other)?;
    let mut talk = Talk { primary, worker };
    while !matches!(talk.next()?, Event::Online { .. }) {}

    type Way = fn(&mut Talk, &str, Duration) -> io::Result<f64>;
    let ways: [(&str, Way); 4] = [
        ("inTurn", |talk, text, time| talk.there_and_back(text, time, 1)),
        ("atOnce", |talk, text, time| talk.there_and_back(text, time, AT_ONCE)),
        ("toWorker", Talk::one_way_out),
        ("toPrimary", Talk::one_way_in),
    ];
    let time = Duration::from_millis(args.millis);
    let mut measured = serde_json::Map::new();
    for (name, length, unit) in [("small", SMALL, 1.0), ("large", LARGE, LARGE as f64 / 1e6)] {
        let text = "x".repeat(length);
        for (way_name, way) in ways {
            // Of large ones one keeps both ends busy.
            let name = format!("{name} {way_name}");
            if name == "large atOnce" || !name.contains(&args.only) {
                continue;
            }
            way(&mut talk, &text, time / 4)?; // warms up
            let rate = way(&mut talk, &text, time)? * unit;
            measured.insert(name, json!(rate));
        }
    }
    println!("{}", json!(measured));
    talk.primary.disconnect();
    while talk.primary.next_event()?.is_some() {}
    Ok(ExitCode::SUCCESS)
}

struct Talk {
    primary: Primary,
    worker: WorkerId,
}

impl Talk {
    fn next(&mut self) -> io::Result<Event> {
        match self.primary.next_event()? {
            Some(Event::Exit { status, .. }) => {
                Err(io::Error::other(format!("the worker ended: {status}")))
            }
            Some(Event::Error { error, .. }) => Err(io::Error::other(error.to_string())),
            Some(event) => Ok(event),
            None => Err(io::Error::other("the worker is gone")),
        }
    }

    fn next_message(&mut self) -> io::Result<Value> {
        loop {
            if let Event::Message { message, .. } = self.next()? {
                return message.into_value().map_err(io::Error::other);
            }
        }
    }

    fn send(&mut self, message: impl Into<Value>) -> io::Result<Pressure> {
        let failed = |error: SendError| io::Error::other(error.to_string());
        self.primary.send(self.worker, message.into()).map_err(failed)
    }

    fn order(&mut self, what: &str) -> io::Result<()> {
        self.send(Object::new().with("do", what)).map(drop)
    }

    /// So many are under way at any time.
    fn there_and_back(&mut self, text: &str, time: Duration, at_once: u32) -> io::Result<f64> {
        self.order("echo")?;
        let start = step::now();
        let mut watch = Stopwatch::new(time, text.len());
        for _ in 0..at_once {
            self.send(text)?;
        }
        let mut n = 0;
        while !watch.is_over() {
            self.next_message()?;
            self.send(text)?;
            n += 1;
        }
        let rate = f64::from(n) / start.elapsed().as_secs_f64();
        for _ in 0..at_once {
            self.next_message()?;
        }
        Ok(rate)
    }

    fn one_way_out(&mut self, text: &str, time: Duration) -> io::Result<f64> {
        self.order("count")?;
        let start = step::now();
        let mut watch = Stopwatch::new(time, text.len());
        while !watch.is_over() {
            if self.send(text)? == Pressure::High {
                while !matches!(self.next()?, Event::Drained { .. }) {}
            }
        }
        self.order("end")?;
        let count = count(&self.next_message()?)?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    }

    fn one_way_in(&mut self, text: &str, time: Duration) -> io::Result<f64> {
        let start = step::now();
        let millis = u64::try_from(time.as_millis()).map_err(io::Error::other)?;
        let size = text.len() as u64;
        self.send(Object::new().with("do", "flood").with("size", size).with("ms", millis))?;
        let mut n = 0;
        let sent = loop {
            let message = self.next_message()?;
            if message.as_str().is_none() {
                break count(&message)?;
            }
            n += 1;
        };
        if n != sent {
            return Err(io::Error::other(format!("{n} of {sent} came")));
        }
        Ok(n as f64 / start.elapsed().as_secs_f64())
    }
}

fn count(message: &Value) -> io::Result<u64> {
    let count = message["count"].as_u64();
    count.ok_or_else(|| io::Error::other(format!("not a count: {message:?}")))
}
