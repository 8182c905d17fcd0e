//! Bytes to values.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::head::{Head, OLDEST, VERSION};
use super::tag;
use crate::encoding::part::Part;
use crate::scan::Command;
use crate::structured_clone::{BigInt, ErrorClass, ErrorValue, StructuredClone, ViewKind};
use crate::value::{MAX_DEPTH, Number, Object, Value};

/// As many values of those that take much memory for a byte may stand in any message; beyond these one
/// for eight bytes.
const MANY: usize = 1 << 20;

type Read<T> = Result<T, String>;

/// Reads a frame's payload, or a part of one, if it holds no more than that many values.
pub(super) fn value(payload: &[u8], part: Option<Part>, values: usize) -> Read<Value> {
    let mut reader = Reader::new(payload);
    reader.values_left = values;
    match part {
        Some(Part { version, objects }) => {
            (reader.version, reader.first_number) = (version, objects);
        }
        None => reader.head()?,
    }
    let value = reader.value(MAX_DEPTH)?;
    match reader.bytes.len() - reader.at {
        0 => Ok(value),
        rest => Err(format!("{rest} bytes too many")),
    }
}

/// Whether a frame's payload may be a text by itself.
pub(super) fn is_text(payload: &[u8]) -> bool {
    let mut reader = Reader::new(payload);
    let tag = reader.head().and_then(|()| reader.tag());
    matches!(tag, Ok(tag::UTF8_STRING | tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING))
}

/// What kind of message it is, by its first members: Node writes a message's `cmd` first.
pub(super) fn head(payload: &[u8]) -> Head {
    let mut reader = Reader::new(payload);
    reader.kind().unwrap_or(Head::Other)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    version: u32,
    /// Objects of the value that have begun.
    objects: u32,
    /// Which of these each number on the wire means.
    numbers: Vec<u32>,
    /// What the first object of this is on the wire.
    first_number: u32,
    /// How many values may follow.
    values_left: usize,
    /// How many values may follow that take a hundred times their bytes.
    structured_left: usize,
}

impl<'a> Reader<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Self {
            bytes: payload,
            at: 0,
            version: 0,
            objects: 0,
            numbers: Vec::new(),
            first_number: 0,
            values_left: usize::MAX,
            structured_left: MANY + payload.len() / 8,
        }
    }

    fn head(&mut self) -> Read<()> {
        if self.byte()? != tag::VERSION {
            return Err("it does not begin with a version".into());
        }
        self.version = self.varint()?;
        if !(OLDEST..=VERSION).contains(&self.version) {
            let version = self.version;
            return Err(format!("version {version}, and {OLDEST} to {VERSION} can be read"));
        }
        Ok(())
    }

    /// What its first members make of a message.
    fn kind(&mut self) -> Read<Head> {
        self.head()?;
        if self.tag()? != tag::OBJECT || self.short_text()? != b"cmd" {
            return Ok(Head::Other);
        }
        let command = Command::of(self.short_text()?);
        if command.is_internal() {
            return Ok(Head::Internal);
        }
        // As we write it, and as a program of Node's does that writes it by hand.
        if command == Command::None || self.short_text()? != b"id" {
            return Ok(Head::Other);
        }
        let id = match self.tag()? {
            tag::INT32 => Number::from(i64::from(self.int32()?)),
            tag::UINT32 => Number::from(u64::from(self.varint()?)),
            tag::DOUBLE => Number::from(self.double()?),
            _ => return Ok(Head::Other),
        };
        let id = id.as_u64().ok_or("no number of a request")?;
        let is_body = self.short_text()? == b"body";
        let body = self.at..self.bytes.len().saturating_sub(EXCHANGE_END.len());
        if !is_body || !self.bytes.ends_with(EXCHANGE_END) || body.is_empty() {
            return Ok(Head::Other);
        }
        let part = Part { version: self.version, objects: 1 };
        Ok(Head::Exchange { asks: command == Command::Request, id, part, body })
    }

    /// The bytes of a text that may be ASCII.
    fn short_text(&mut self) -> Read<&'a [u8]> {
        match self.tag()? {
            tag::UTF8_STRING | tag::ONE_BYTE_STRING => {
                let length = self.varint()?;
                self.take(length)
            }
            _ => Err("something else where a text should be".into()),
        }
    }

    fn byte(&mut self) -> Read<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte.ok_or_else(|| "it ends too early".into())
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, length: u32) -> Read<&'a [u8]> {
        let end = usize::try_from(length).ok().and_then(|length| self.at.checked_add(length));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or("it ends too early")?;
        self.at += taken.len();
        Ok(taken)
    }

    fn varint(&mut self) -> Read<u32> {
        let mut n = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            // V8 drops what does not fit, too.
            n |= u32::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err("a number that does not end".into())
    }

    fn double(&mut self) -> Read<f64> {
        let bytes = self.take(8)?;
        Ok(f64::from_le_bytes(bytes.try_into().map_err(|_| "it ends too early")?))
    }

    /// The next tag, what fills gaps left out.
    fn tag(&mut self) -> Read<u8> {
        loop {
            match self.byte()? {
                tag::PADDING => {}
                // How many objects follow: of use to a reader that wants to check it.
                tag::OBJECT_COUNT => drop(self.varint()?),
                tag => return Ok(tag),
            }
        }
    }

    /// An object begins.
    fn begin(&mut self) {
        self.numbers.push(self.objects);
        self.objects += 1;
    }

    fn value(&mut self, depth: usize) -> Read<Value> {
        let tag = self.tag()?;
        self.tagged(tag, depth)
    }

    fn tagged(&mut self, tag: u8, depth: usize) -> Read<Value> {
        self.values_left = self.values_left.checked_sub(1).ok_or(TOO_MANY)?;
        Ok(match tag {
            tag::NULL => Value::Null,
            tag::TRUE => true.into(),
            tag::FALSE => false.into(),
            tag::INT32 => self.int32()?.into(),
            tag::UINT32 => self.varint()?.into(),
            tag::DOUBLE => self.double()?.into(),
            tag::UTF8_STRING | tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING => self.string(tag)?,
            tag::OBJECT => {
                self.begin();
                let members = self.members(tag::END_OBJECT, deeper(depth)?)?;
                distinct(members)?.into()
            }
            tag::DENSE_ARRAY => self.dense_array(deeper(depth)?)?,
            tag::SPARSE_ARRAY => self.sparse_array(deeper(depth)?)?,
            _ => return self.structured_clone(tag, depth),
        })
    }

    fn structured_clone(&mut self, tag: u8, depth: usize) -> Read<Value> {
        let left = self.structured_left.checked_sub(1);
        self.structured_left = left.ok_or("too many small values for its length")?;
        Ok(match tag {
            tag::UNDEFINED => StructuredClone::Undefined,
            tag::BIG_INT => StructuredClone::BigInt(self.big_int()?),
            tag::REFERENCE => {
                let number = self.varint()?;
                let own = number.checked_sub(self.first_number);
                let own = own.and_then(|own| usize::try_from(own).ok());
                let target = own.and_then(|own| self.numbers.get(own));
                let target = target.filter(|target| **target < self.objects);
                let target = target.ok_or_else(|| format!("a reference to nothing ({number})"))?;
                if self.peek() == Some(tag::ARRAY_BUFFER_VIEW) {
                    return Err("two views of one ArrayBuffer".into());
                }
                StructuredClone::Back(self.objects - target)
            }
            tag::DATE => {
                self.begin();
                StructuredClone::Date(self.double()?)
            }
            tag::TRUE_OBJECT => self.boxed(|_| Ok(true.into()))?,
            tag::FALSE_OBJECT => self.boxed(|_| Ok(false.into()))?,
            tag::NUMBER_OBJECT => self.boxed(|reader| Ok(reader.double()?.into()))?,
            tag::BIG_INT_OBJECT => self.boxed(|reader| Ok(reader.big_int()?.into()))?,
            tag::STRING_OBJECT => self.boxed(Self::text)?,
            tag::REG_EXP => {
                self.begin();
                let source = utf8(self.text()?);
                let bits = self.varint()?;
                let set = tag::REG_EXP_FLAGS.iter().filter(|(_, bit)| bits & bit != 0);
                StructuredClone::RegExp { source, flags: set.map(|(letter, _)| letter).collect() }
            }
            tag::MAP => {
                self.begin();
                let depth = deeper(depth)?;
                let mut entries = Vec::new();
                while let Some(key) = self.until(tag::END_MAP, depth)? {
                    entries.push((key, self.value(depth)?));
                }
                self.expect(entries.len() * 2)?;
                StructuredClone::Map(entries)
            }
            tag::SET => {
                self.begin();
                let depth = deeper(depth)?;
                let mut values = Vec::new();
                while let Some(value) = self.until(tag::END_SET, depth)? {
                    values.push(value);
                }
                self.expect(values.len())?;
                StructuredClone::Set(values)
            }
            tag::ERROR => self.error(depth)?,
            tag::ARRAY_BUFFER | tag::RESIZABLE_ARRAY_BUFFER => {
                self.array_buffer(tag == tag::RESIZABLE_ARRAY_BUFFER)?
            }
            tag::HOST_OBJECT => return self.host_object(depth),
            b'u' => return Err("a SharedArrayBuffer, which no channel carries".into()),
            b'w' | b'W' => return Err("a WebAssembly module, which no channel carries".into()),
            tag => return Err(format!("an unknown tag {:?}", char::from(tag))),
        }
        .into())
    }

    fn int32(&mut self) -> Read<i32> {
        let n = self.varint()?;
        Ok((n >> 1) as i32 ^ -((n & 1) as i32))
    }

    /// A value, or nothing at the end of what holds it.
    fn until(&mut self, end: u8, depth: usize) -> Read<Option<Value>> {
        let tag = self.tag()?;
        if tag == end { Ok(None) } else { self.tagged(tag, depth).map(Some) }
    }

    /// The count behind a list.
    fn expect(&mut self, counted: usize) -> Read<()> {
        let claimed = self.varint()?;
        if usize::try_from(claimed) == Ok(counted) {
            return Ok(());
        }
        Err(format!("{counted} members where {claimed} are announced"))
    }

    fn text(&mut self) -> Read<Value> {
        let tag = self.tag()?;
        self.string(tag)
    }

    fn string(&mut self, tag: u8) -> Read<Value> {
        let length = match tag {
            tag::UTF8_STRING | tag::ONE_BYTE_STRING | tag::TWO_BYTE_STRING => self.varint()?,
            _ => return Err("something else where a text should be".into()),
        };
        let bytes = self.take(length)?;
        Ok(match tag {
            tag::UTF8_STRING => String::from_utf8_lossy(bytes).into_owned().into(),
            tag::ONE_BYTE_STRING => bytes.iter().map(|b| char::from(*b)).collect::<String>().into(),
            _ if !bytes.len().is_multiple_of(2) => return Err("half a letter".into()),
            _ => {
                let units: Vec<u16> =
                    bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect();
                match String::from_utf16(&units) {
                    Ok(text) => text.into(),
                    Err(_) => StructuredClone::Utf16(units).into(),
                }
            }
        })
    }

    fn big_int(&mut self) -> Read<BigInt> {
        let bits = self.varint()?;
        let bytes = self.take(bits >> 1)?;
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        Ok(BigInt::new(bits & 1 == 1, words.collect()))
    }

    fn boxed(&mut self, read: impl FnOnce(&mut Self) -> Read<Value>) -> Read<StructuredClone> {
        self.begin();
        Ok(StructuredClone::Boxed(Box::new(read(self)?)))
    }

    /// Names and values up to the end, and their count behind it.
    fn members(&mut self, end: u8, depth: usize) -> Read<Vec<(String, Value)>> {
        let mut members = Vec::new();
        loop {
            let name = match self.tag()? {
                tag if tag == end => break,
                tag::INT32 => self.int32()?.to_string(),
                tag::UINT32 => self.varint()?.to_string(),
                tag::DOUBLE => match Number::from(self.double()?).as_i64() {
                    Some(whole) => whole.to_string(),
                    None => return Err("a member that is named by a fraction".into()),
                },
                tag => utf8(self.string(tag)?),
            };
            members.push((name, self.value(depth)?));
        }
        self.expect(members.len())?;
        Ok(members)
    }

    fn dense_array(&mut self, depth: usize) -> Read<Value> {
        self.begin();
        let length = self.varint()?;
        // Each element is at least a byte.
        if length as usize > self.bytes.len() - self.at.min(self.bytes.len()) {
            return Err("it ends too early".into());
        }
        let mut elements = Vec::new();
        for index in 0..length {
            match self.tag()? {
                tag::HOLE => {}
                tag => elements.push((index, self.tagged(tag, depth)?)),
            }
        }
        let members = self.members(tag::END_DENSE_ARRAY, depth)?;
        self.array(length, elements, members)
    }

    fn sparse_array(&mut self, depth: usize) -> Read<Value> {
        self.begin();
        let length = self.varint()?;
        let (mut elements, mut members) = (Vec::new(), Vec::new());
        for (name, value) in self.members(tag::END_SPARSE_ARRAY, depth)? {
            match index(&name).filter(|index| *index < length) {
                Some(index) => elements.push((index, value)),
                None => members.push((name, value)),
            }
        }
        // V8 writes them so, and what one left out would shift what references count.
        if !elements.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err("an array's elements are not in their order".into());
        }
        self.array(length, elements, members)
    }

    fn array(
        &mut self,
        length: u32,
        elements: Vec<(u32, Value)>,
        members: Vec<(String, Value)>,
    ) -> Read<Value> {
        if self.varint()? != length {
            return Err("an array with two lengths".into());
        }
        if members.is_empty() && elements.len() == length as usize {
            return Ok(Value::Array(elements.into_iter().map(|(_, value)| value).collect()));
        }
        Ok(StructuredClone::Array { length, elements, members: distinct(members)? }.into())
    }

    fn error(&mut self, depth: usize) -> Read<StructuredClone> {
        self.begin();
        let depth = deeper(depth)?;
        let mut error = ErrorValue::default();
        loop {
            // Here no gap is filled: a tag of an error's own is next.
            match self.byte()? {
                tag::error::MESSAGE => once(&mut error.message, self.text()?)?,
                tag::error::STACK => once(&mut error.stack, self.text()?)?,
                tag::error::CAUSE => once(&mut error.cause, self.value(depth)?)?,
                tag::error::END => return Ok(StructuredClone::Error(Box::new(error))),
                byte => error.class = class(byte)?,
            }
        }
    }

    fn array_buffer(&mut self, resizable: bool) -> Read<StructuredClone> {
        self.begin();
        let length = self.varint()?;
        let max_length = if resizable { Some(self.varint()?) } else { None };
        if max_length.is_some_and(|max| max < length) {
            return Err("an ArrayBuffer that is longer than it may get".into());
        }
        let bytes = self.take(length)?;
        if self.peek() != Some(tag::ARRAY_BUFFER_VIEW) {
            return Ok(StructuredClone::ArrayBuffer { bytes: bytes.to_vec(), max_length });
        }
        // What shows it comes in its place, with a number of its own.
        self.at += 1;
        self.numbers.push(self.objects - 1);
        let byte = self.byte()?;
        let kind = tag::VIEWS.iter().find(|(tag, _)| *tag == byte).map(|(_, kind)| *kind);
        let kind = kind.ok_or_else(|| format!("an unknown view {:?}", char::from(byte)))?;
        let (offset, shown) = (self.varint()? as usize, self.varint()? as usize);
        if self.version >= 14 {
            // Whether its length follows the buffer's: what it shows now is all that is kept.
            self.varint()?;
        }
        let end = offset.checked_add(shown).filter(|_| shown.is_multiple_of(kind.element_size()));
        let shown = end.and_then(|end| bytes.get(offset..end));
        let shown = shown.ok_or("a view of what is not there")?;
        Ok(StructuredClone::View { kind, bytes: shown.to_vec() })
    }

    fn host_object(&mut self, depth: usize) -> Read<Value> {
        match self.varint()? {
            tag::HOST_VIEW => {
                self.begin();
                let index = self.varint()?;
                let kind = ViewKind::ALL.iter().copied().find(|kind| kind.index() == index);
                let kind = kind.ok_or_else(|| format!("an unknown view (number {index})"))?;
                let length = self.varint()?;
                let bytes = self.take(length)?;
                if !bytes.len().is_multiple_of(kind.element_size()) {
                    return Err(format!("{length} bytes are no {}", kind.name()));
                }
                Ok(StructuredClone::View { kind, bytes: bytes.to_vec() }.into())
            }
            tag::HOST_PLAIN => {
                // An object of Node's own and its plain copy have a number each, and mean the same.
                self.numbers.push(self.objects);
                let before = self.objects;
                let copy = self.value(deeper(depth)?)?;
                if self.objects == before {
                    return Err("an object of the host's that is none".into());
                }
                Ok(copy)
            }
            other => Err(format!("an unknown object of the host's (number {other})")),
        }
    }
}

/// How an object of three members ends.
const EXCHANGE_END: &[u8] = &[tag::END_OBJECT, 3];

/// What is said of more values than were asked for.
pub(super) const TOO_MANY: &str = "too many values";

/// What is said of a value that nests deeper than is read.
pub(super) const TOO_DEEP: &str = "it nests too deep";

fn deeper(depth: usize) -> Read<usize> {
    depth.checked_sub(1).ok_or_else(|| TOO_DEEP.into())
}

/// The members, if none is there twice.
fn distinct(members: Vec<(String, Value)>) -> Read<Object> {
    let count = members.len();
    let object = Object::from_members(members);
    if object.len() == count { Ok(object) } else { Err("a member that is there twice".into()) }
}

/// Sets what is set once.
fn once(part: &mut Option<Value>, value: Value) -> Read<()> {
    match part.replace(value) {
        None => Ok(()),
        Some(_) => Err("an error with two of one kind".into()),
    }
}

fn class(byte: u8) -> Read<ErrorClass> {
    let known = tag::error::CLASSES.iter().find(|(tag, _)| *tag == byte);
    known.map(|(_, class)| *class).ok_or_else(|| format!("an error with {:?}", char::from(byte)))
}

/// The array index of that name: digits without leading zeros.
fn index(name: &str) -> Option<u32> {
    let index = name.parse().ok()?;
    (u32::to_string(&index) == name).then_some(index)
}

/// A text for which UTF-8 has to do.
fn utf8(text: Value) -> String {
    match text {
        Value::String(text) => text,
        Value::StructuredClone(rich) => match *rich {
            StructuredClone::Utf16(units) => String::from_utf16_lossy(&units),
            _ => String::new(),
        },
        _ => String::new(),
    }
}
