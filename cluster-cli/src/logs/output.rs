//! What workers write, line by line.

use std::cell::RefCell;
use std::sync::Arc;

use cluster_primary::WorkerId;

use super::format::{begun, line};
use super::lines::{Line, Lines, State};
use super::sink::Sink;
use crate::config::LogFormat;

/// Who writes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    /// None where the worker was gone before its slot could be learned.
    pub(crate) slot: Option<u32>,
    pub(crate) worker: WorkerId,
    pub(crate) pid: u32,
}

/// Puts the workers' lines where they go: as text, each after its slot, to standard output or standard
/// error as the worker meant it, byte by byte what the worker wrote; as JSON, an object each, all to
/// standard output.
pub(crate) struct Output {
    /// By worker and descriptor.
    lines: RefCell<Lines<(u32, u32)>>,
    form: LogFormat,
    out: Arc<Sink>,
    err: Arc<Sink>,
}

impl Output {
    pub(crate) fn new(form: LogFormat, out: Arc<Sink>, err: Arc<Sink>) -> Self {
        Self { lines: RefCell::default(), form, out, err }
    }

    /// A worker wrote to one of its descriptors.
    pub(crate) fn wrote(&self, author: Author, fd: u32, bytes: &[u8]) {
        let mut lines = self.lines.borrow_mut();
        lines.feed((author.worker.0, fd), bytes, |line| self.put(author, fd, line));
    }

    /// A worker writes no more.
    pub(crate) fn ended(&self, author: Author) {
        let mut lines = self.lines.borrow_mut();
        for fd in [1, 2] {
            lines.end((author.worker.0, fd), |line| self.put(author, fd, line));
        }
    }

    /// The lines that workers have begun, for the part that ends them.
    pub(crate) fn lines(&self) -> State<(u32, u32)> {
        self.lines.borrow().clone().into_state()
    }

    /// Goes on with lines that workers have begun.
    pub(crate) fn put_lines(&self, state: State<(u32, u32)>) {
        self.lines.replace(Lines::from_state(state));
    }

    fn put(&self, author: Author, fd: u32, line: Line<'_>) {
        match self.form {
            LogFormat::Text => {
                let to = if fd == 2 { &self.err } else { &self.out };
                to.push(&as_text(author, line));
            }
            LogFormat::Json => self.out.push(as_json(author, fd, line).as_bytes()),
        }
    }
}

fn as_text(author: Author, line: Line<'_>) -> Vec<u8> {
    let mut text = match author.slot {
        Some(slot) => format!("[{slot}] ").into_bytes(),
        None => format!("[worker {}] ", author.worker).into_bytes(),
    };
    text.extend_from_slice(line.bytes);
    if line.cut {
        text.extend_from_slice(b" [cut]");
    }
    text.push(b'\n');
    text
}

fn as_json(author: Author, fd: u32, piece: Line<'_>) -> String {
    let mut object = begun("info");
    if let Some(slot) = author.slot {
        object.insert("slot", slot);
    }
    object = object
        .with("worker", author.worker.0)
        .with("pid", author.pid)
        .with("stream", if fd == 2 { "stderr" } else { "stdout" })
        .with("line", String::from_utf8_lossy(piece.bytes).into_owned());
    if piece.cut {
        object.insert("cut", true);
    }
    line(object) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHOR: Author = Author { slot: Some(2), worker: WorkerId(7), pid: 99 };

    #[test]
    fn text_is_the_workers_own_bytes() {
        let line = Line { bytes: b"caf\xe9\r", cut: false };
        assert_eq!(as_text(AUTHOR, line), b"[2] caf\xe9\r\n");
        let line = Line { bytes: b"and so on", cut: true };
        assert_eq!(as_text(AUTHOR, line), b"[2] and so on [cut]\n");
    }

    #[test]
    fn a_worker_with_an_unknown_slot_is_named_by_its_id() {
        let author = Author { slot: None, ..AUTHOR };
        let line = Line { bytes: b"a", cut: false };
        assert_eq!(as_text(author, line), b"[worker 7] a\n");
        assert!(as_json(author, 1, line).contains(r#","level":"info","worker":7,"#));
    }

    #[test]
    fn json_is_valid_whatever_was_written() {
        let line = Line { bytes: b"a \"b\" \xe9\x1b", cut: true };
        let text = as_json(AUTHOR, 2, line);
        let (_, rest) = text.split_once("Z\",").expect("it begins with the time");
        let wanted = "\"level\":\"info\",\"slot\":2,\"worker\":7,\"pid\":99,\"stream\":\"stderr\",\
                      \"line\":\"a \\\"b\\\" \u{fffd}\\u001b\",\"cut\":true}\n";
        assert_eq!(rest, wanted);
    }
}
