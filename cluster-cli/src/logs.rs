//! What is said: the log, and what workers write.
//!
//! The log goes to standard error, as text or as an object a line; what workers write goes where it
//! would have gone without us, line by line. None of it is waited for: the primary is on every
//! connection's way, and the reader of this is not (see [`sink`]).

mod events;
mod format;
pub(crate) mod lines;
mod output;
mod sink;

pub(crate) use events::Events;
pub(crate) use output::{Author, Output};

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, fmt, registry};

use crate::config::{LogFormat, LogLevel};
use sink::Sink;

/// Of what is told of a worker's life. In text its lines have no `warning:` or the like, however
/// much they weigh: a death says itself that it is one.
pub(crate) const LIFE: &str = "cluster::life";

/// How long the last words may take when all has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where all of it goes. When it is dropped, what was logged is written, as far as it is read.
pub(crate) struct Logs {
    pub(crate) out: Arc<Sink>,
    pub(crate) err: Arc<Sink>,
}

impl Logs {
    /// Has what the program says from here on logged.
    pub(crate) fn start(form: LogFormat, level: LogLevel) -> Self {
        let notice = match form {
            LogFormat::Text => |what: &str| format!("cluster: warning: {what}\n"),
            LogFormat::Json => {
                |what: &str| format::line(format::begun("warn").with("message", what)) + "\n"
            }
        };
        let logs = Self {
            out: Sink::start(io::stdout(), "standard output", notice),
            err: Sink::start(io::stderr(), "standard error", notice),
        };
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let err = Arc::clone(&logs.err);
        let subscriber =
            subscriber(form, level, colours, move || sink::Writer::new(Arc::clone(&err)));
        // Only a second one could fail, and it would say the same.
        let _ = tracing::subscriber::set_global_default(subscriber);
        logs
    }

    /// Waits until all is written, but not longer than that for each stream; whether it is.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        // The one does not excuse the other.
        let finished = [&self.out, &self.err].map(|sink| sink.finish(patience));
        finished == [true, true]
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.finish(PATIENCE);
    }
}

fn subscriber<W: io::Write + 'static>(
    form: LogFormat,
    level: LogLevel,
    colours: bool,
    writer: impl Fn() -> W + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // If the log cannot be written, that cannot be logged either.
    let layer = fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer = match form {
        LogFormat::Text => layer.event_format(format::Text { colours }).boxed(),
        LogFormat::Json => layer.event_format(format::Json).boxed(),
    };
    registry().with(layer).with(level)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing::{debug, error, info, warn};

    use super::*;

    /// What is logged meanwhile.
    fn logged(form: LogFormat, level: LogLevel, colours: bool, what: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Page(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Page {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(form, level, colours, move || writer.clone());
        tracing::subscriber::with_default(subscriber, what);
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    fn a_few() {
        let none: Option<u32> = None;
        info!(target: LIFE, slot = 0, worker = 3, pid = 77, "worker {} (pid {}) started", 3, 77);
        warn!(target: LIFE, slot = none, worker = 3, "worker 3 died");
        warn!("something \"odd\"\nhappened");
        error!("too bad");
        debug!("by the way");
    }

    #[test]
    fn text_says_what_it_always_said() {
        let text = logged(LogFormat::Text, LogLevel::Info, false, a_few);
        let wanted = "cluster: worker 3 (pid 77) started\ncluster: worker 3 died\n\
                      cluster: warning: something \"odd\"\n  happened\ncluster: error: too bad\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn colours_are_for_terminals() {
        let text = logged(LogFormat::Text, LogLevel::Error, true, a_few);
        assert_eq!(text, "cluster: \x1b[1;31merror:\x1b[0m too bad\n");
    }

    #[test]
    fn less_is_said_if_so_asked() {
        let text = logged(LogFormat::Text, LogLevel::Warn, false, || {
            info!(target: LIFE, "started");
            warn!("odd");
        });
        assert_eq!(text, "cluster: warning: odd\n");
        assert!(logged(LogFormat::Text, LogLevel::Debug, false, a_few).ends_with("by the way\n"));
    }

    #[test]
    fn json_is_an_object_a_line_with_fields() {
        let text = logged(LogFormat::Json, LogLevel::Info, false, a_few);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let rest: Vec<_> = lines
            .iter()
            .map(|line| {
                let (timestamp, rest) = line.split_once("Z\",").expect("it begins with the time");
                let time = timestamp.strip_prefix("{\"timestamp\":\"20").expect("it is named");
                assert!(time.len() > 16 && time.contains('T'), "{line}");
                rest
            })
            .collect();
        let wanted = [
            r#""level":"info","message":"worker 3 (pid 77) started","slot":0,"worker":3,"pid":77}"#,
            r#""level":"warn","message":"worker 3 died","worker":3}"#,
            r#""level":"warn","message":"something \"odd\"\nhappened"}"#,
            r#""level":"error","message":"too bad"}"#,
        ];
        assert_eq!(rest, wanted);
    }
}
