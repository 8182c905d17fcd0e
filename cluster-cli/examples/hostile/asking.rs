//! Listens by way of the primary, as `node:cluster` asks for it.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};

use serde_json::{Value, json};

use crate::Outcome;
use crate::channel::RawChannel;

/// Asks the primary, one question at a time.
pub(crate) struct Asking {
    channel: RawChannel,
    answers: BufReader<std::fs::File>,
    seq: u64,
}

impl Asking {
    pub(crate) fn new(channel: RawChannel) -> Result<Self, std::io::Error> {
        let copy: OwnedFd = channel.as_fd().try_clone_to_owned()?;
        Ok(Self { channel, answers: BufReader::new(copy.into()), seq: 0 })
    }

    fn send(&mut self, mut message: Value) -> Result<u64, std::io::Error> {
        self.seq += 1;
        message["cmd"] = "NODE_CLUSTER".into();
        message["seq"] = self.seq.into();
        self.channel.send(&message.to_string())?;
        Ok(self.seq)
    }

    /// Asks for a socket at `unix:PATH`, `abstract:NAME`, `tcp:PORT` or `udp:PORT` (on 127.0.0.1): the
    /// server's key, or the error as libuv has it.
    pub(crate) fn listen(
        &mut self,
        at: &str,
    ) -> Result<Result<String, i64>, Box<dyn std::error::Error>> {
        let (kind, place) = at.split_once(':').ok_or("it is KIND:PLACE")?;
        let mut query = match kind {
            "unix" => json!({"address": place, "port": -1, "addressType": -1}),
            "abstract" => json!({"address": format!("\0{place}"), "port": -1, "addressType": -1}),
            "tcp" => {
                json!({"address": "127.0.0.1", "port": place.parse::<u16>()?, "addressType": 4})
            }
            "udp" => {
                json!({"address": "127.0.0.1", "port": place.parse::<u16>()?, "addressType": "udp4"})
            }
            _ => return Err("there is no such kind".into()),
        };
        query["act"] = "queryServer".into();
        query["index"] = 0.into();
        query["writableAll"] = true.into();
        query["readableAll"] = true.into();
        let asked = self.send(query)?;
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line)? == 0 {
                return Err("the primary has closed the channel".into());
            }
            let mut answer: Value = serde_json::from_str(&line)?;
            if answer["cmd"] == "NODE_HANDLE" {
                // What came with it is closed by the kernel; that it came has to be said.
                self.channel.send(r#"{"cmd":"NODE_HANDLE_ACK"}"#)?;
                answer = answer["msg"].take();
            }
            if answer["ack"] == asked {
                let key = answer["key"].as_str().unwrap_or_default().to_owned();
                return Ok(match answer["errno"].as_i64() {
                    None | Some(0) => Ok(key),
                    Some(errno) => Err(errno),
                });
            }
        }
    }

    /// Closes a server.
    pub(crate) fn close(&mut self, key: &str) -> Result<(), std::io::Error> {
        self.send(json!({"act": "close", "key": key})).map(drop)
    }

    /// Waits until the primary closes the channel.
    pub(crate) fn until_the_end(self) -> Outcome {
        self.channel.read_to_end()
    }
}

/// Listens on each address, says how that went, and stays.
pub(crate) fn listen_on_each(channel: RawChannel, addresses: &[String]) -> Outcome {
    let mut asking = Asking::new(channel)?;
    for at in addresses {
        match asking.listen(at)? {
            Ok(_) => println!("has {at}"),
            Err(errno) => println!("refused {at}: {errno}"),
        }
    }
    println!("asked for all");
    asking.until_the_end()
}
