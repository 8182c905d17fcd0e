//! Has the primary open as many listeners as it can, dies, and does so again in its next life; and keeps
//! descriptors that no message claims in the primary's hands.

use std::fs::File;
use std::os::fd::AsFd;

use crate::Outcome;
use crate::channel::{MAX_DESCRIPTORS, RawChannel};

/// More than one worker may have.
const LISTENERS: usize = 1100;

pub(crate) fn and_die(channel: &RawChannel) -> Outcome {
    for index in 0..LISTENERS {
        channel.send(&query(index))?;
    }
    // It dies when all are answered.
    let mut answers = 0;
    let mut opened = 0;
    channel.each_line(|line| {
        if line.contains(r#""ack":"#) {
            answers += 1;
            opened += usize::from(!line.contains(r#""errno":-24"#));
        }
        answers < LISTENERS
    })?;
    Err(format!("{opened} of {LISTENERS} listeners were opened").into())
}

/// A listener on a free port.
pub(crate) fn query(index: usize) -> String {
    format!(
        r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":0,"addressType":4,"fd":null,"flags":0,"index":{index},"data":null,"seq":{}}}"#,
        index + 1
    )
}

/// Descriptors come with the beginning of a message that never ends.
pub(crate) fn hoard(channel: &RawChannel) -> Outcome {
    let file = File::open("/dev/null")?;
    let descriptors = vec![file.as_fd(); MAX_DESCRIPTORS];
    channel.write_with(br#"{"cmd":"NODE_HANDLE","type":"net.Native","#, &descriptors)?;
    channel.read_to_end()
}

/// Messages with a descriptor each, faster than anyone takes them.
pub(crate) fn handles(channel: &RawChannel) -> Outcome {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair()?;
    let message = r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":"take this"}"#;
    for _ in 0..3000 {
        channel.write_with(format!("{message}\n").as_bytes(), &[ours.as_fd()])?;
    }
    channel.read_to_end()
}
