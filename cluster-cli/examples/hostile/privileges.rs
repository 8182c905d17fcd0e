//! Says what privileges this process has.

use std::fs;

use crate::Outcome;
use crate::channel::RawChannel;

pub(crate) fn report(channel: RawChannel) -> Outcome {
    let status = fs::read_to_string("/proc/self/status")?;
    for line in status.lines() {
        if ["Cap", "Uid", "Gid", "Groups"].iter().any(|name| line.starts_with(name)) {
            println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    println!("told all");
    channel.read_to_end()
}
