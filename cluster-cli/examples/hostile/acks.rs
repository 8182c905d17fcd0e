//! Answers to messages that were never sent.

use crate::Outcome;
use crate::channel::RawChannel;

/// Writes so many, and stays until the channel closes.
pub(crate) fn stray(channel: &RawChannel, count: &str) -> Outcome {
    for number in 0..count.parse::<u64>()? {
        let ack = 1_000_000 + number;
        channel.send(&format!(r#"{{"cmd":"NODE_CLUSTER","ack":{ack},"accepted":true}}"#))?;
    }
    println!("all is sent");
    channel.read_to_end()
}
