//! Node's own channels, as recorded in `tests/golden` (its README says how).

use std::fs;
use std::path::Path;

/// One file.
pub(crate) struct Recording {
    /// The file's name, without its extension.
    pub(crate) name: String,
    /// The major version of the Node that spoke.
    pub(crate) major: u32,
    /// Whether V8's structured clone was spoken, not JSON.
    pub(crate) advanced: bool,
    pub(crate) lines: Vec<Line>,
}

/// One frame, or (in a recording of chunks) what one `read` brought.
pub(crate) struct Line {
    /// The channel and direction.
    pub(crate) stream: (u64, Direction),
    /// The kind of the descriptor that went with it.
    pub(crate) handle: Option<String>,
    /// The frame as JSON, in Node's own words.
    pub(crate) frame: Option<String>,
    /// What Node says of the value, where the bytes are V8's.
    pub(crate) what: Option<String>,
    /// The bytes themselves.
    pub(crate) raw: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Direction {
    ToWorker,
    ToPrimary,
}

impl Recording {
    /// The bytes of each stream of a recording that has them.
    pub(crate) fn raw_streams(&self) -> Vec<Vec<u8>> {
        self.streams(|line| line.raw.clone())
    }

    /// The bytes of each stream, made again from the frames.
    pub(crate) fn json_streams(&self) -> Vec<Vec<u8>> {
        self.streams(|line| line.frame.as_ref().map(|text| format!("{text}\n").into_bytes()))
    }

    fn streams(&self, bytes: impl Fn(&Line) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
        let mut streams = std::collections::BTreeMap::<_, Vec<u8>>::new();
        for line in &self.lines {
            if let Some(bytes) = bytes(line) {
                streams.entry(line.stream).or_default().extend(bytes);
            }
        }
        streams.into_values().collect()
    }
}

/// All recordings, in the order of their names.
pub(crate) fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Recording {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let digits: String =
        name.strip_prefix("node").unwrap().chars().take_while(char::is_ascii_digit).collect();
    Recording {
        major: digits.parse().unwrap_or_else(|_| panic!("{name}: which Node was it?")),
        advanced: name.contains("-advanced-"),
        lines: fs::read_to_string(path).unwrap().lines().map(read_line).collect(),
        name,
    }
}

fn read_line(text: &str) -> Line {
    // The frame stands last, in the words in which it was sent: they may hold what serde_json
    // would not read (lone surrogates).
    let (head, frame) = match text.split_once(",\"frame\":") {
        Some((head, frame)) => (format!("{head}}}"), frame.strip_suffix('}')),
        None => (text.to_owned(), None),
    };
    let line: serde_json::Value =
        serde_json::from_str(&head).unwrap_or_else(|error| panic!("{error}: {head}"));
    Line {
        stream: (
            line["worker"].as_u64().unwrap_or(1),
            match line["dir"].as_str() {
                Some("P>W") => Direction::ToWorker,
                Some("W>P") => Direction::ToPrimary,
                other => panic!("{other:?} is no direction: {text}"),
            },
        ),
        handle: line["handle"].as_str().map(str::to_owned),
        frame: frame.map(str::to_owned),
        what: line["what"].as_str().map(str::to_owned),
        raw: line.get("raw").map(|raw| base64(raw.as_str().unwrap())),
    }
}

fn base64(text: &str) -> Vec<u8> {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} is not of base64"),
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    out
}
