//! Chooses names that would do something to a terminal, or forge lines of a log.

use crate::Outcome;
use crate::channel::RawChannel;

/// A terminal's title and colours, lines of their own, text from right to left, and what hides text.
pub(crate) const NAME: &str = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}2J\r\ncluster: error: forged\u{2028}\u{202e}txt.exe\u{feff}";

/// As it stands in JSON, a server's address and text in an error.
const IN_JSON: &str =
    r"\u001b]0;owned\u0007\u001b[31m\u009b2J\r\ncluster: error: forged\u2028\u202etxt.exe\ufeff";

pub(crate) fn names(channel: &RawChannel, folder: &str) -> Outcome {
    let query = |act: &str, path: &str, kind: &str, port: i32, seq: u32| {
        format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"{act}","address":"{path}","port":{port},"addressType":{kind},"fd":null,"flags":0,"index":0,"data":null,"seq":{seq}}}"#
        )
    };
    let path = format!("{folder}/{IN_JSON}");
    // One that can be had, which stays in the status; one that cannot; and what is just said.
    channel.send(&query("queryServer", &path, "-1", -1, 1))?;
    channel.send(&query("listening", &path, "-1", -1, 2))?;
    channel.send(&query("queryServer", &format!("/nowhere/{IN_JSON}"), "-1", -1, 3))?;
    channel.send(&query("queryServer", IN_JSON, "4", 80, 4))?;
    channel.send(&query("listening", IN_JSON, "4", 80, 5))?;
    channel.send(&format!(r#"{{"{IN_JSON}":"{IN_JSON}"}}"#))?;
    // What is no message at all, and quoted perhaps; the channel ends with it.
    let mut told = 0;
    channel.each_line(|line| {
        told += usize::from(line.contains(r#""ack":"#));
        told < 3
    })?;
    println!("hostile: {NAME:?} is what it is called");
    channel.read_to_end()
}
