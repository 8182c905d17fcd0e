//! A worker that writes to its channel what its arguments say, right or wrong: for tests.
//!
//! Its channel is its descriptor 0 (`stdio: [Ipc, …]`). Arguments, one after the other:
//!
//! - `say:TEXT` a line; `raw:TEXT` without its end; `big:N` a line of that many bytes;
//! - `fds:N:TEXT` a line with that many descriptors beside it;
//! - `many:N:TEXT` the line so many times;
//! - `every:MS:N:TEXT` the same, with so many milliseconds before each;
//! - `until:TEXT` until that is heard (a descriptor beside it is lost, and not acknowledged);
//! - `wait` until the channel is closed; `sleep` for ever; `leave` at once.

use std::error::Error;
use std::fs::File;
use std::io::{self, IoSlice, Read, stdin};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};

const ONLINE: &str = r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#;

fn main() -> Result<(), Box<dyn Error>> {
    write(format!("{ONLINE}\n").as_bytes())?;
    for argument in std::env::args().skip(1) {
        let (word, rest) = argument.split_once(':').unwrap_or((&argument, ""));
        match word {
            "say" => write(format!("{rest}\n").as_bytes())?,
            "raw" => write(rest.as_bytes())?,
            "big" => write(format!("\"{}\"\n", "x".repeat(rest.parse()?)).as_bytes())?,
            "fds" => {
                let (count, text) = rest.split_once(':').ok_or("fds:N:TEXT")?;
                write_with(format!("{text}\n").as_bytes(), count.parse()?)?;
            }
            "many" => {
                let (count, text) = rest.split_once(':').ok_or("many:N:TEXT")?;
                for n in 0..count.parse::<u32>()? {
                    write(format!("{}\n", text.replace("%", &n.to_string())).as_bytes())?;
                }
            }
            "every" => {
                let (pause, rest) = rest.split_once(':').ok_or("every:MS:N:TEXT")?;
                let (count, text) = rest.split_once(':').ok_or("every:MS:N:TEXT")?;
                let pause = Duration::from_millis(pause.parse()?);
                for n in 0..count.parse::<u32>()? {
                    std::thread::sleep(pause);
                    write(format!("{}\n", text.replace("%", &n.to_string())).as_bytes())?;
                }
            }
            "until" => {
                let (mut heard, mut chunk) = (Vec::new(), [0; 4096]);
                while !String::from_utf8_lossy(&heard).contains(rest) {
                    let length = stdin().read(&mut chunk)?;
                    heard.extend_from_slice(&chunk[..length]);
                    if length == 0 {
                        return Ok(());
                    }
                }
            }
            "wait" => {
                let mut rest = Vec::new();
                let _end = stdin().read_to_end(&mut rest);
            }
            "sleep" => loop {
                std::thread::park();
            },
            _ => return Ok(()),
        }
    }
    Ok(())
}

fn write(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = match send(stdin(), bytes, SendFlags::NOSIGNAL) {
            // It has been found out.
            Err(Errno::PIPE | Errno::CONNRESET) => return Ok(()),
            sent => sent?,
        };
        bytes = &bytes[sent..];
    }
    Ok(())
}

fn write_with(bytes: &[u8], count: usize) -> io::Result<()> {
    let null = File::open("/dev/null")?;
    let fds = vec![null.as_fd(); count];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(stdin(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
