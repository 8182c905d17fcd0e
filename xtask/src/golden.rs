//! `cargo xtask golden`: records channels between real Node processes.
//!
//! Runs each scenario with each Node in an own process and an own directory; the relays that the
//! script's workers sit behind write a log (see [`log`](crate::log)), which becomes the files that
//! `cluster-proto/tests/golden/README.md` describes.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rustix::io::FdFlags;
use serde_json::value::RawValue;

use crate::base64;
use crate::log::{Direction, Entry, Kind};
use crate::node::Node;
use crate::scenarios::{ALL, Form, Scenario};

/// How long one scenario may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What takes the place of a scenario's own directory in a recording.
const SHOWN_DIRECTORY: &str = "/run/demo";

/// Ports from here on are chosen by the kernel; a recording numbers them from `FIRST_SHOWN`.
const FIRST_RANDOM_PORT: u32 = 32_768;
const FIRST_SHOWN_PORT: u32 = 40_001;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A Node to record; may be repeated.
    #[arg(long, value_name = "PATH", default_value = "node")]
    node: Vec<PathBuf>,
    /// Where the recordings go [default: cluster-proto/tests/golden].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Record this scenario only; may be repeated.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scripts = here.join("golden");
    let out = args.out.clone().unwrap_or_else(|| here.join("../cluster-proto/tests/golden"));
    fs::create_dir_all(&out)?;
    if let Some(unknown) = args.only.iter().find(|only| !ALL.iter().any(|s| s.name == **only)) {
        let all: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        return Err(io::Error::other(format!(
            "no scenario is called {unknown}; there are: {}",
            all.join(", ")
        )));
    }
    let mut failed = 0;
    for node in &args.node {
        let major = Node::at(node)?.major();
        for scenario in ALL {
            let wanted = args.only.is_empty() || args.only.iter().any(|o| o == scenario.name);
            let applies = scenario.majors.is_empty() || scenario.majors.contains(&major);
            if !wanted || !applies {
                continue;
            }
            let recording = Recording { node, major, scripts: &scripts, scenario };
            match recording.make(&out) {
                Ok(frames) => println!("node{major}-{}: {frames} frames", scenario.name),
                Err(error) => {
                    failed += 1;
                    eprintln!("node{major}-{}: {error}", scenario.name);
                }
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Recording<'a> {
    node: &'a Path,
    major: u32,
    scripts: &'a Path,
    scenario: &'a Scenario,
}

impl Recording<'_> {
    /// Records and writes the files; the number of frames.
    fn make(&self, out: &Path) -> io::Result<usize> {
        let name = format!("node{}-{}", self.major, self.scenario.name);
        let directory = env::temp_dir().join(format!("golden-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let recorded = self.record(&directory);
        fs::remove_dir_all(&directory)?;
        let mut entries = recorded?;

        let advanced = self.scenario.serialization == "advanced";
        if !advanced {
            normalise(&mut entries, &directory);
        }
        let mut frames = frames(&entries, advanced)?;
        if advanced {
            for frame in &mut frames {
                rename_in_clone(&mut frame.bytes, &directory)?;
            }
        }
        let several_workers = entries.iter().any(|entry| entry.worker > 1);
        if self.scenario.form != Form::Chunks {
            let mut text = String::new();
            for frame in &frames {
                text.push_str(&frame_line(frame, advanced, several_workers)?);
            }
            if advanced {
                text = self.describe(&text)?;
            }
            fs::write(out.join(format!("{name}.jsonl")), text)?;
        }
        if self.scenario.form != Form::Frames {
            let text: String = entries.iter().map(|e| raw_line(e, several_workers)).collect();
            fs::write(out.join(format!("{name}.chunks.jsonl")), text)?;
        }
        Ok(frames.len())
    }

    /// Runs the script to its end and reads what its relays have logged.
    fn record(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let log = directory.join("log");
        let tcp = TcpListener::bind("127.0.0.1:0")?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let pipe = UnixListener::bind(directory.join("inherited.sock"))?;
        let script = self.scripts.join(self.scenario.script).with_extension("js");
        let mut primary = Command::new(self.node)
            .arg(script)
            .current_dir(directory)
            .env("GOLDEN_RELAY", env::current_exe()?)
            .env("GOLDEN_LOG", &log)
            .env("GOLDEN_SERIALIZATION", self.scenario.serialization)
            .env("GOLDEN_TCP_FD", inheritable(&tcp)?)
            .env("GOLDEN_UDP_FD", inheritable(&udp)?)
            .env("GOLDEN_PIPE_FD", inheritable(&pipe)?)
            .env("NODE_CLUSTER_SCHED_POLICY", self.scenario.policy)
            .envs(self.scenario.env.iter().copied())
            .stdin(Stdio::null())
            .spawn()?;
        let step = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        let status = loop {
            if let Some(status) = primary.try_wait()? {
                break status;
            }
            if waited >= PATIENCE {
                // Its relays see the channel's end and end their workers.
                primary.kill()?;
                primary.wait()?;
                return Err(io::Error::other("took too long"));
            }
            thread::sleep(step);
            waited += step;
        };
        if !status.success() {
            return Err(io::Error::other(format!("the primary ended with {status}")));
        }
        Entry::read_all(&fs::read(&log)?).ok_or_else(|| io::Error::other("the log is torn"))
    }

    /// Has Node say what the frames of an `advanced` recording are.
    fn describe(&self, lines: &str) -> io::Result<String> {
        let mut child = Command::new(self.node)
            .arg(self.scripts.join("describe.js"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().expect("stdin is piped above");
        let output = thread::scope(|scope| {
            let writer = scope.spawn(move || input.write_all(lines.as_bytes()));
            let output = child.wait_with_output();
            writer.join().expect("write_all does not panic")?;
            output
        })?;
        if !output.status.success() {
            return Err(io::Error::other("describe.js failed"));
        }
        String::from_utf8(output.stdout).map_err(io::Error::other)
    }
}

/// Lets children inherit the descriptor; its number, which stays the same in them.
fn inheritable(handle: &impl AsFd) -> io::Result<String> {
    rustix::io::fcntl_setfd(handle, FdFlags::empty())?;
    Ok(handle.as_fd().as_raw_fd().to_string())
}

/// Puts fixed names in the place of random ports and of the scenario's own directory.
fn normalise(entries: &mut [Entry], directory: &Path) {
    let directory = directory.as_os_str().as_encoded_bytes();
    let mut ports = BTreeMap::new();
    for entry in entries {
        entry.bytes = replace(&entry.bytes, directory, SHOWN_DIRECTORY.as_bytes());
        renumber_ports(&mut entry.bytes, &mut ports);
    }
}

fn replace(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.windows(old.len()).position(|window| window == old) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

/// Renames the directory within a frame of structured-clone data, where a string states its length
/// and so does the frame. Only one-byte strings of less than 128 are met here.
fn rename_in_clone(frame: &mut Vec<u8>, directory: &Path) -> io::Result<()> {
    let old = directory.as_os_str().as_encoded_bytes();
    let new = SHOWN_DIRECTORY.as_bytes();
    while let Some(at) = frame.windows(old.len()).position(|window| window == old) {
        let tagged = at.checked_sub(2).filter(|tag| frame[*tag] == b'"' && frame[at - 1] < 0x80);
        let length = tagged.map_or(0, |tag| usize::from(frame[tag + 1]));
        if length < old.len() {
            return Err(io::Error::other("a path stands in no short string of its own"));
        }
        frame.splice(at..at + old.len(), new.iter().copied());
        let short = |length: usize| u8::try_from(length - old.len() + new.len());
        frame[at - 1] = short(length).map_err(io::Error::other)?;
        let body = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
        frame[..4].copy_from_slice(&body.to_be_bytes());
    }
    Ok(())
}

/// A port stands between a colon and something that is no digit, in members as in keys. Random
/// ones have five digits and so do the shown ones: lengths stay true.
fn renumber_ports(bytes: &mut [u8], shown: &mut BTreeMap<u32, u32>) {
    for at in 1..bytes.len() {
        let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits != 5 || bytes[at - 1] != b':' {
            continue;
        }
        let number = bytes[at..at + 5].iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0'));
        if (FIRST_RANDOM_PORT..=65_535).contains(&number) {
            let next = FIRST_SHOWN_PORT + u32::try_from(shown.len()).unwrap_or(0);
            let port = *shown.entry(number).or_insert(next);
            bytes[at..at + 5].copy_from_slice(format!("{port:05}").as_bytes());
        }
    }
}

/// One frame, as an entry: complete, with the descriptor that belongs to it.
fn frames(entries: &[Entry], advanced: bool) -> io::Result<Vec<Entry>> {
    let mut streams: BTreeMap<(u32, Direction), Stream> = BTreeMap::new();
    let mut frames = Vec::new();
    for entry in entries {
        let stream = streams.entry((entry.worker, entry.direction)).or_default();
        stream.bytes.extend_from_slice(&entry.bytes);
        if entry.handle.is_some() {
            let unclaimed = stream.handle.replace((entry.handle, entry.dropped));
            if unclaimed.is_some() {
                return Err(io::Error::other("a descriptor came with no frame of its own"));
            }
        }
        while let Some(bytes) = stream.next_frame(advanced) {
            let carries = if advanced {
                // The one-byte string of length 11, as V8 writes it.
                bytes.windows(13).any(|window| window == b"\"\x0bNODE_HANDLE")
            } else {
                bytes.starts_with(br#"{"cmd":"NODE_HANDLE","#)
            };
            let (handle, dropped) =
                if carries { stream.handle.take().unwrap_or_default() } else { (None, false) };
            frames.push(Entry { handle, dropped, bytes, ..*entry });
        }
    }
    match streams.values().find(|s| s.handle.is_some() || !s.bytes.is_empty()) {
        Some(_) => Err(io::Error::other("a channel ended within a frame")),
        None => Ok(frames),
    }
}

#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    /// The descriptor that has come and whose frame is not complete, and whether it was dropped.
    handle: Option<(Option<Kind>, bool)>,
}

impl Stream {
    fn next_frame(&mut self, advanced: bool) -> Option<Vec<u8>> {
        let length = if advanced {
            let header = self.bytes.first_chunk::<4>()?;
            4 + u32::from_be_bytes(*header) as usize
        } else {
            1 + self.bytes.iter().position(|byte| *byte == b'\n')?
        };
        if self.bytes.len() < length {
            return None;
        }
        let rest = self.bytes.split_off(length);
        Some(std::mem::replace(&mut self.bytes, rest))
    }
}

fn frame_line(frame: &Entry, advanced: bool, several_workers: bool) -> io::Result<String> {
    if advanced {
        return Ok(raw_line(frame, several_workers));
    }
    let text = std::str::from_utf8(&frame.bytes).map_err(io::Error::other)?.trim_end_matches('\n');
    // Only to be sure that it is one JSON text: it goes into the line as Node wrote it.
    serde_json::from_str::<&RawValue>(text)?;
    Ok(format!("{},\"frame\":{text}}}\n", line_head(frame, several_workers)))
}

fn raw_line(entry: &Entry, several_workers: bool) -> String {
    let raw = base64::encode(&entry.bytes);
    format!("{},\"raw\":\"{raw}\"}}\n", line_head(entry, several_workers))
}

fn line_head(entry: &Entry, several_workers: bool) -> String {
    let worker =
        if several_workers { format!("\"worker\":{},", entry.worker) } else { String::new() };
    let direction = entry.direction.label();
    let handle = entry.handle.map_or("null".into(), |kind| format!("\"{}\"", kind.label()));
    let dropped = if entry.dropped { ",\"dropped\":true" } else { "" };
    format!("{{{worker}\"dir\":\"{direction}\",\"handle\":{handle}{dropped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(direction: Direction, handle: Option<Kind>, bytes: &[u8]) -> Entry {
        Entry { worker: 1, direction, handle, dropped: false, bytes: bytes.to_vec() }
    }

    #[test]
    fn ports_are_renumbered_in_members_and_keys_alone() {
        let mut ports = BTreeMap::new();
        let mut bytes = br#"{"port":54321,"key":"::1:33000:6","x":32000,"n":"a54321"}"#.to_vec();
        renumber_ports(&mut bytes, &mut ports);
        let shown = br#"{"port":40001,"key":"::1:40002:6","x":32000,"n":"a54321"}"#;
        assert_eq!(bytes, shown);
    }

    #[test]
    fn a_renamed_directory_keeps_the_lengths_true() {
        let mut frame = b"\0\0\0\x0c\xff\x0f\"\x08/tmp/x/s".to_vec();
        rename_in_clone(&mut frame, Path::new("/tmp/x")).unwrap();
        assert_eq!(frame, b"\0\0\0\x0f\xff\x0f\"\x0b/run/demo/s");
    }

    #[test]
    fn a_descriptor_goes_to_the_frame_that_carries_one() {
        let chunks = [
            entry(Direction::ToWorker, None, b"1\n2"),
            entry(
                Direction::ToWorker,
                Some(Kind::Tcp),
                b"\n3\n{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.So",
            ),
            entry(Direction::ToPrimary, None, b"null\n"),
            entry(Direction::ToWorker, None, b"cket\"}\n"),
        ];
        let frames = frames(&chunks, false).unwrap();
        let seen: Vec<_> = frames.iter().map(|f| (f.handle, f.bytes.as_slice())).collect();
        let carrier = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\"}\n";
        assert_eq!(
            seen,
            [
                (None, &b"1\n"[..]),
                (None, &b"2\n"[..]),
                (None, &b"3\n"[..]),
                (None, &b"null\n"[..]),
                (Some(Kind::Tcp), &carrier[..]),
            ]
        );
    }

    #[test]
    fn a_torn_stream_is_an_error() {
        assert!(frames(&[entry(Direction::ToWorker, None, b"half")], false).is_err());
        assert!(frames(&[entry(Direction::ToWorker, None, &[0, 0, 0, 9, 1])], true).is_err());
    }
}
