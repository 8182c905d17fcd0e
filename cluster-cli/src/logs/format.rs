//! How a line of the log looks.

use std::fmt;

use cluster_primary::{Object, Value, printable, proto};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::LIFE;

/// `cluster: worker 3 (pid 77) started`
pub(super) struct Text {
    pub(super) colours: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let told = Told::by(event);
        let (tag, colour) = match *event.metadata().level() {
            Level::ERROR => ("error: ", "31"),
            Level::WARN => ("warning: ", "33"),
            _ => ("", ""),
        };
        writer.write_str("cluster: ")?;
        match tag.trim_end() {
            _ if event.metadata().target() == LIFE => {}
            "" => {}
            word if self.colours => write!(writer, "\x1b[1;{colour}m{word}\x1b[0m ")?,
            word => write!(writer, "{word} ")?,
        }
        // What begins a line is ours, whatever a message quotes.
        for (nth, line) in printable::lines(&told.message).split('\n').enumerate() {
            let indent = if nth > 0 && !line.starts_with("  ") { "  " } else { "" };
            writeln!(writer, "{indent}{line}")?;
        }
        Ok(())
    }
}

/// `{"timestamp":…,"level":"info","message":"worker 3 (pid 77) started","slot":0,"worker":3,"pid":77}`
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let told = Told::by(event);
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        let mut object = begun(&level).with("message", told.message);
        for (name, value) in told.fields {
            object.insert(name, value);
        }
        writeln!(writer, "{}", line(object))
    }
}

/// What every line has.
pub(super) fn begun(level: &str) -> Object {
    let mut timestamp = String::new();
    // Writing to a string cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    Object::new().with("timestamp", timestamp).with("level", level)
}

pub(super) fn line(object: Object) -> String {
    let text = proto::Json::text(&Value::from(object)).unwrap_or_default();
    printable::json(&text).into_owned()
}

/// What an event has to say.
#[derive(Default)]
struct Told {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

impl Told {
    fn by(event: &Event<'_>) -> Self {
        let mut told = Self::default();
        event.record(&mut told);
        told
    }
}

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), value.into()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.fields.push((name, value.into())),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}
