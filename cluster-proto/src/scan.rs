//! JSON texts, checked while they arrive: without a tree, in memory that does not grow with the text
//! (but for one bit per level of nesting).
//!
//! It accepts what the reader of [`Value`](crate::Value)s accepts, and refuses what that refuses; a
//! property test compares the two. On the way it notes where the few members lie that decide what kind
//! of message the text is.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::error::DecodeError;
use crate::internal::MAX_WRAPS;
use crate::value::MAX_DEPTH;

/// Where in the grammar the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    /// The first element of an array, or its end.
    FirstElement,
    /// The first name in an object, or its end.
    FirstName,
    Name,
    Colon,
    /// Behind a value.
    After,
    Text,
    Escape,
    /// Digits of a `\u` that are left, and the value of those before.
    Unicode(u8, u16),
    /// Bytes of a character that are left, and what the next one may be.
    Character(u8, u8, u8),
    /// The rest of `true`, `false` or `null`.
    Word(&'static [u8]),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// What a message's `cmd` makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Command {
    /// A user's message.
    #[default]
    None,
    /// A user's message that is a request ([`Exchange`](crate::Exchange)).
    Request,
    /// A user's message that answers one.
    Response,
    /// `NODE_HANDLE`: its `msg` is a message too.
    Handle,
    /// Any other that starts with `NODE_`.
    Internal,
}

impl Command {
    pub(crate) fn of(cmd: &[u8]) -> Self {
        match cmd {
            b"CLUSTER_REQUEST" => Self::Request,
            b"CLUSTER_RESPONSE" => Self::Response,
            b"NODE_HANDLE" => Self::Handle,
            cmd if cmd.len() > 5 && cmd.starts_with(b"NODE_") => Self::Internal,
            _ => Self::None,
        }
    }

    pub(crate) fn is_internal(self) -> bool {
        matches!(self, Self::Handle | Self::Internal)
    }
}

/// The members that matter, of an object that is a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Cmd,
    Msg,
    Id,
    Body,
    Error,
    Other,
}

/// An object that is a message, or that a handle wraps: of members with one name the last one counts.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) command: Command,
    pub(crate) msg: Option<Range<usize>>,
    pub(crate) id: Option<Range<usize>>,
    pub(crate) body: Option<Range<usize>>,
    pub(crate) error: Option<Range<usize>>,
    /// The member whose value is being read.
    member: Member,
}

const EMPTY: Envelope = Envelope {
    command: Command::None,
    msg: None,
    id: None,
    body: None,
    error: None,
    member: Member::Other,
};

impl Envelope {
    fn place(&mut self) -> Option<&mut Option<Range<usize>>> {
        match self.member {
            Member::Msg => Some(&mut self.msg),
            Member::Id => Some(&mut self.id),
            Member::Body => Some(&mut self.body),
            Member::Error => Some(&mut self.error),
            Member::Cmd | Member::Other => None,
        }
    }
}

/// Longer than all words that are looked for.
const LONGEST_WORD: usize = 17;

/// The beginning of a text, unescaped; what is not ASCII is some byte that is not ASCII.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    bytes: [u8; LONGEST_WORD],
    length: usize,
}

impl Beginning {
    fn push(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes[self.length..].iter_mut().zip(bytes) {
            *place = *byte;
            self.length += 1;
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The smallest magnitude that rounds to infinity, 2^1024 - 2^970, in its 309 digits.
const INFINITE: &[u8; 309] = b"179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";

/// Whether a number is one that a double can hold, decided digit by digit.
#[derive(Clone, Copy, Debug, Default)]
struct Magnitude {
    /// Digits from the first that is not 0, up to those of [`INFINITE`].
    compared: usize,
    /// How these compare to those of [`INFINITE`]: greater, or smaller, as far as they differ.
    differs: Option<bool>,
    /// Ten to this power times `0.…` of these digits is the number, its exponent aside.
    scale: i64,
    exponent: i64,
    exponent_is_negative: bool,
}

impl Magnitude {
    fn digit(&mut self, digit: u8, is_fraction: bool) {
        if self.compared == 0 && digit == b'0' {
            self.scale -= i64::from(is_fraction);
            return;
        }
        self.scale += i64::from(!is_fraction);
        if let Some(limit) = INFINITE.get(self.compared) {
            if self.differs.is_none() && digit != *limit {
                self.differs = Some(digit > *limit);
            }
            self.compared += 1;
        }
    }

    fn exponent_digit(&mut self, digit: u8) {
        // Beyond this the digits before it do not matter: no frame has as many.
        self.exponent = (self.exponent * 10 + i64::from(digit - b'0')).min(1 << 40);
    }

    fn is_finite(&self) -> bool {
        if self.compared == 0 {
            return true;
        }
        let exponent = if self.exponent_is_negative { -self.exponent } else { self.exponent };
        match (self.scale + exponent).cmp(&(INFINITE.len() as i64)) {
            core::cmp::Ordering::Less => true,
            core::cmp::Ordering::Greater => false,
            // The last digit of the limit is none of 0: a number with fewer digits is below it.
            core::cmp::Ordering::Equal => !self.differs.unwrap_or(self.compared == INFINITE.len()),
        }
    }
}

/// Checks one JSON text.
#[derive(Clone, Debug)]
pub(crate) struct JsonScanner {
    state: State,
    /// Bytes that were looked at.
    at: usize,
    depth: usize,
    /// A bit for each level: whether it is an object.
    kinds: Vec<u64>,
    /// The text that is being read is a member's name.
    is_name: bool,
    /// What is being read is needed.
    captures: bool,
    beginning: Beginning,
    magnitude: Magnitude,
    /// Values that have begun.
    values: usize,
    envelopes: [Envelope; MAX_WRAPS + 1],
    /// How many of these are open: the last of them is at that depth.
    open: usize,
    too_deep: bool,
    failed: Option<(usize, &'static str)>,
}

/// What a text that was scanned to its end holds.
#[derive(Debug)]
pub(crate) struct Outline {
    /// The message, what its handle wraps, and what that wraps.
    pub(crate) envelopes: [Envelope; MAX_WRAPS + 1],
    /// Values of all kinds.
    pub(crate) values: usize,
}

/// Why a text has no outline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is no JSON: where, and what is wrong there.
    Malformed(usize, &'static str),
    /// It is, but nests too deep.
    TooDeep,
}

impl From<Flaw> for DecodeError {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::TooDeep => Self::TooDeep,
            Flaw::Malformed(at, what) => {
                let what: String = alloc::format!("{what} at byte {at}");
                Self::Malformed { encoding: "JSON", what }
            }
        }
    }
}

type Step = Result<(), &'static str>;

const CONTROL: &str = "control character in a string";
const ENDS_EARLY: &str = "unexpected end";
const NUMBER: &str = "invalid number";

impl JsonScanner {
    pub(crate) const fn new() -> Self {
        Self {
            state: State::Value,
            at: 0,
            depth: 0,
            kinds: Vec::new(),
            is_name: false,
            captures: false,
            beginning: Beginning { bytes: [0; LONGEST_WORD], length: 0 },
            magnitude: Magnitude {
                compared: 0,
                differs: None,
                scale: 0,
                exponent: 0,
                exponent_is_negative: false,
            },
            values: 0,
            envelopes: [EMPTY; MAX_WRAPS + 1],
            open: 0,
            too_deep: false,
            failed: None,
        }
    }

    /// Looks at a whole text.
    pub(crate) fn scan(text: &[u8]) -> Result<Outline, Flaw> {
        let mut scanner = Self::new();
        scanner.push(text);
        scanner.finish()
    }

    /// How many bytes were looked at.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Looks at the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err((at, what)) = self.look(bytes)
        {
            self.failed = Some((self.at + at, what));
        }
        self.at += bytes.len();
    }

    /// The text has ended.
    pub(crate) fn finish(mut self) -> Result<Outline, Flaw> {
        if let Some((at, what)) = self.failed {
            return Err(Flaw::Malformed(at, what));
        }
        let ended = self.end_number(0);
        if let Err(what) = ended {
            return Err(Flaw::Malformed(self.at, what));
        }
        if self.state != State::After || self.depth > 0 {
            return Err(Flaw::Malformed(self.at, ENDS_EARLY));
        }
        if self.too_deep {
            return Err(Flaw::TooDeep);
        }
        Ok(Outline { envelopes: self.envelopes, values: self.values })
    }

    fn look(&mut self, bytes: &[u8]) -> Result<(), (usize, &'static str)> {
        let mut i = 0;
        while let Some(&byte) = bytes.get(i) {
            match self.state {
                State::Text => {
                    let rest = &bytes[i..];
                    let plain = rest.iter().position(|byte| !PLAIN[usize::from(*byte)]);
                    let plain = plain.unwrap_or(rest.len());
                    if plain > 0 {
                        if self.captures {
                            self.beginning.push(&rest[..plain]);
                        }
                        i += plain;
                        continue;
                    }
                    self.in_text(byte, i).map_err(|what| (i, what))?;
                }
                State::Integer | State::Fraction if byte.is_ascii_digit() => {
                    self.magnitude.digit(byte, self.state == State::Fraction);
                }
                State::Integer | State::Fraction | State::Zero | State::ExponentDigits => {
                    if !self.in_number(byte) {
                        self.end_number(i).map_err(|what| (i, what))?;
                        continue;
                    }
                }
                _ => self.step(byte, i).map_err(|what| (i, what))?,
            }
            i += 1;
        }
        Ok(())
    }

    /// A byte of a text that is no plain character.
    fn in_text(&mut self, byte: u8, i: usize) -> Step {
        self.state = match byte {
            b'"' => {
                self.end_text(i + 1);
                return Ok(());
            }
            b'\\' => State::Escape,
            0..=0x1f => return Err(CONTROL),
            0xc2..=0xdf => State::Character(1, 0x80, 0xbf),
            0xe0 => State::Character(2, 0xa0, 0xbf),
            0xed => State::Character(2, 0x80, 0x9f),
            0xe1..=0xef => State::Character(2, 0x80, 0xbf),
            0xf0 => State::Character(3, 0x90, 0xbf),
            0xf1..=0xf3 => State::Character(3, 0x80, 0xbf),
            0xf4 => State::Character(3, 0x80, 0x8f),
            _ => return Err("invalid UTF-8"),
        };
        if byte >= 0x80 && self.captures {
            self.beginning.push(&[byte]);
        }
        Ok(())
    }

    /// Whether a byte belongs to the number that was complete before it.
    fn in_number(&mut self, byte: u8) -> bool {
        self.state = match (self.state, byte) {
            (State::Zero | State::Integer, b'.') => State::Point,
            (State::Zero | State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
            (State::ExponentDigits, b'0'..=b'9') => {
                self.magnitude.exponent_digit(byte);
                State::ExponentDigits
            }
            _ => return false,
        };
        true
    }

    fn step(&mut self, byte: u8, i: usize) -> Step {
        if matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
            && matches!(
                self.state,
                State::Value
                    | State::FirstElement
                    | State::FirstName
                    | State::Name
                    | State::Colon
                    | State::After
            )
        {
            return Ok(());
        }
        match self.state {
            State::FirstElement if byte == b']' => self.end_container(i + 1),
            State::Value | State::FirstElement => self.begin_value(byte, i)?,
            State::FirstName if byte == b'}' => self.end_container(i + 1),
            State::FirstName | State::Name => {
                if byte != b'"' {
                    return Err("expected a member's name");
                }
                self.begin_text(true);
            }
            State::Colon => {
                if byte != b':' {
                    return Err("expected `:`");
                }
                self.state = State::Value;
            }
            State::After => self.after_value(byte, i)?,
            State::Escape => {
                let plain = match byte {
                    b'u' => {
                        self.state = State::Unicode(4, 0);
                        return Ok(());
                    }
                    b'"' | b'\\' | b'/' => byte,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return Err("invalid escape"),
                };
                self.capture(plain);
                self.state = State::Text;
            }
            State::Unicode(left, unit) => {
                let digit = char::from(byte).to_digit(16).ok_or("invalid escape")?;
                let unit = unit << 4 | digit as u16;
                self.state = State::Unicode(left - 1, unit);
                if left == 1 {
                    self.capture(if unit < 0x80 { unit as u8 } else { 0xff });
                    self.state = State::Text;
                }
            }
            State::Character(left, low, high) => {
                if !(low..=high).contains(&byte) {
                    return Err("invalid UTF-8");
                }
                self.state = match left {
                    1 => State::Text,
                    left => State::Character(left - 1, 0x80, 0xbf),
                };
            }
            State::Word(rest) => match rest.split_first() {
                Some((expected, rest)) if *expected == byte => {
                    self.state = State::Word(rest);
                    if rest.is_empty() {
                        self.end_value(i + 1);
                    }
                }
                _ => return Err("expected a value"),
            },
            State::Minus => match byte {
                b'0' => self.state = State::Zero,
                b'1'..=b'9' => {
                    self.magnitude.digit(byte, false);
                    self.state = State::Integer;
                }
                _ => return Err(NUMBER),
            },
            State::Point => match byte {
                b'0'..=b'9' => {
                    self.magnitude.digit(byte, true);
                    self.state = State::Fraction;
                }
                _ => return Err(NUMBER),
            },
            State::Exponent | State::ExponentSign => match byte {
                b'+' | b'-' if self.state == State::Exponent => {
                    self.magnitude.exponent_is_negative = byte == b'-';
                    self.state = State::ExponentSign;
                }
                b'0'..=b'9' => {
                    self.magnitude.exponent_digit(byte);
                    self.state = State::ExponentDigits;
                }
                _ => return Err(NUMBER),
            },
            // These have a way of their own.
            State::Text
            | State::Zero
            | State::Integer
            | State::Fraction
            | State::ExponentDigits => {}
        }
        Ok(())
    }

    fn capture(&mut self, byte: u8) {
        if self.captures {
            self.beginning.push(&[byte]);
        }
    }

    /// The envelope whose members are being read, if this is one.
    fn envelope(&mut self) -> Option<&mut Envelope> {
        (self.open > 0 && self.depth == self.open).then(|| &mut self.envelopes[self.open - 1])
    }

    fn begin_value(&mut self, byte: u8, i: usize) -> Step {
        self.values += 1;
        let at = self.at + i;
        let mut is_cmd = false;
        let mut is_message = self.depth == 0;
        if let Some(envelope) = self.envelope() {
            if let Some(place) = envelope.place() {
                *place = Some(at..at);
            }
            is_cmd = envelope.member == Member::Cmd;
            if is_cmd {
                envelope.command = Command::None;
            }
            is_message = envelope.member == Member::Msg;
            if is_message && let Some(inner) = self.envelopes.get_mut(self.open) {
                *inner = EMPTY;
            }
        }
        match byte {
            b'"' => {
                self.begin_text(false);
                self.captures = is_cmd;
            }
            b'{' => {
                self.begin_container(true);
                if is_message && self.open < self.envelopes.len() {
                    self.open += 1;
                }
                self.state = State::FirstName;
            }
            b'[' => {
                self.begin_container(false);
                self.state = State::FirstElement;
            }
            b't' => self.state = State::Word(b"rue"),
            b'f' => self.state = State::Word(b"alse"),
            b'n' => self.state = State::Word(b"ull"),
            b'-' | b'0'..=b'9' => {
                self.magnitude = Magnitude::default();
                self.state = match byte {
                    b'-' => State::Minus,
                    b'0' => State::Zero,
                    _ => {
                        self.magnitude.digit(byte, false);
                        State::Integer
                    }
                };
            }
            _ => return Err("expected a value"),
        }
        Ok(())
    }

    fn begin_text(&mut self, is_name: bool) {
        self.is_name = is_name;
        self.captures = is_name && self.envelope().is_some();
        self.beginning.length = 0;
        self.state = State::Text;
    }

    fn end_text(&mut self, end: usize) {
        if self.is_name {
            let beginning = self.beginning;
            if let Some(envelope) = self.envelope() {
                envelope.member = match beginning.bytes() {
                    b"cmd" => Member::Cmd,
                    b"msg" => Member::Msg,
                    b"id" => Member::Id,
                    b"body" => Member::Body,
                    b"error" => Member::Error,
                    _ => Member::Other,
                };
            }
            self.state = State::Colon;
            return;
        }
        if self.captures {
            let command = Command::of(self.beginning.bytes());
            if let Some(envelope) = self.envelope() {
                envelope.command = command;
            }
        }
        self.end_value(end);
    }

    fn begin_container(&mut self, is_object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.kinds.len() {
            self.kinds.push(0);
        }
        self.kinds[word] = self.kinds[word] & !(1 << bit) | u64::from(is_object) << bit;
        self.depth += 1;
        self.too_deep |= self.depth > MAX_DEPTH;
    }

    fn is_in_object(&self) -> bool {
        let level = self.depth.wrapping_sub(1);
        self.kinds.get(level / 64).is_some_and(|word| word >> (level % 64) & 1 == 1)
    }

    fn end_container(&mut self, end: usize) {
        if self.open == self.depth {
            self.open -= 1;
        }
        self.depth -= 1;
        self.end_value(end);
    }

    fn end_value(&mut self, end: usize) {
        let end = self.at + end;
        if let Some(place) = self.envelope().and_then(Envelope::place)
            && let Some(range) = place
        {
            range.end = end;
        }
        self.state = State::After;
    }

    fn after_value(&mut self, byte: u8, i: usize) -> Step {
        if self.depth == 0 {
            return Err("characters behind the text");
        }
        match (self.is_in_object(), byte) {
            (true, b',') => self.state = State::Name,
            (false, b',') => self.state = State::Value,
            (true, b'}') | (false, b']') => self.end_container(i + 1),
            (true, _) => return Err("expected `,` or `}`"),
            (false, _) => return Err("expected `,` or `]`"),
        }
        Ok(())
    }

    /// A number ends, if one is being read.
    fn end_number(&mut self, i: usize) -> Step {
        match self.state {
            State::Zero | State::Integer | State::Fraction | State::ExponentDigits => {
                if !self.magnitude.is_finite() {
                    return Err("number out of range");
                }
                self.end_value(i);
                Ok(())
            }
            State::Minus | State::Point | State::Exponent | State::ExponentSign => Err(NUMBER),
            _ => Ok(()),
        }
    }
}

/// Bytes that stand for themselves in a text.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};
