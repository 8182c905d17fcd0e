//! Values to bytes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::head::VERSION;
use super::tag;
use crate::structured_clone::{BigInt, ErrorValue, StructuredClone, ViewKind};
use crate::value::{Number, Object, Value};

/// Why something cannot be written.
type Written = Result<(), String>;

/// Appends the value as one frame. Its nesting has been looked at.
pub(super) fn frame(value: &Value, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut writer = Writer { out, start, objects: 0 };
    writer.byte(tag::VERSION);
    writer.varint(VERSION);
    writer.value(value)?;
    let length = u32::try_from(out.len() - start - 4);
    let length = length.map_err(|_| String::from("it is longer than 4 GiB"))?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the frame begins: strings of two bytes a letter stand at even places behind it.
    start: usize,
    /// Objects that have begun; each has the count before it for its number.
    objects: u32,
}

impl Writer<'_> {
    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    fn varint(&mut self, mut n: u32) {
        while n >= 0x80 {
            self.byte(n as u8 | 0x80);
            n >>= 7;
        }
        self.byte(n as u8);
    }

    fn count(&mut self, n: usize) -> Written {
        self.varint(u32::try_from(n).map_err(|_| format!("{n} is too many"))?);
        Ok(())
    }

    fn double(&mut self, n: f64) {
        // JavaScript has one NaN.
        let n = if n.is_nan() { f64::NAN } else { n };
        self.out.extend_from_slice(&n.to_le_bytes());
    }

    fn value(&mut self, value: &Value) -> Written {
        match value {
            Value::Null => self.byte(tag::NULL),
            Value::Bool(true) => self.byte(tag::TRUE),
            Value::Bool(false) => self.byte(tag::FALSE),
            Value::Number(n) => return self.number(*n),
            Value::String(text) => return self.string(text),
            Value::Array(items) => {
                self.begin(tag::DENSE_ARRAY);
                self.count(items.len())?;
                for item in items {
                    self.value(item)?;
                }
                self.byte(tag::END_DENSE_ARRAY);
                self.varint(0);
                return self.count(items.len());
            }
            Value::Object(object) => {
                self.begin(tag::OBJECT);
                self.members(object)?;
                self.byte(tag::END_OBJECT);
                return self.count(object.len());
            }
            Value::StructuredClone(rich) => return self.structured_clone(rich),
        }
        Ok(())
    }

    /// Begins an object, which others may refer to.
    fn begin(&mut self, tag: u8) {
        self.objects += 1;
        self.byte(tag);
    }

    fn members(&mut self, object: &Object) -> Written {
        for (name, value) in object.iter() {
            self.string(name)?;
            self.value(value)?;
        }
        Ok(())
    }

    fn number(&mut self, n: Number) -> Written {
        exact(n)?;
        // V8 keeps -0 apart, as a double.
        let whole = n.as_i64().filter(|whole| *whole != 0 || n.as_f64().is_sign_positive());
        match whole.and_then(|whole| i32::try_from(whole).ok()) {
            Some(whole) => self.int32(whole),
            None => {
                self.byte(tag::DOUBLE);
                self.double(n.as_f64());
            }
        }
        Ok(())
    }

    fn int32(&mut self, n: i32) {
        self.byte(tag::INT32);
        self.varint((n << 1 ^ n >> 31) as u32);
    }

    fn string(&mut self, text: &str) -> Written {
        if text.chars().all(|c| c <= '\u{ff}') {
            self.byte(tag::ONE_BYTE_STRING);
            self.count(text.chars().count())?;
            self.out.extend(text.chars().map(|c| c as u8));
            return Ok(());
        }
        self.utf16(text.encode_utf16().count(), text.encode_utf16())
    }

    fn utf16(&mut self, length: usize, units: impl Iterator<Item = u16>) -> Written {
        let bytes = u32::try_from(length * 2).map_err(|_| format!("{length} letters"))?;
        let prefix = 1 + (1..5).find(|n| bytes >> (7 * n) == 0).unwrap_or(5);
        if (self.out.len() - self.start + prefix) % 2 == 1 {
            self.byte(tag::PADDING);
        }
        self.byte(tag::TWO_BYTE_STRING);
        self.varint(bytes);
        for unit in units {
            self.out.extend_from_slice(&unit.to_le_bytes());
        }
        Ok(())
    }

    fn big_int(&mut self, n: &BigInt) -> Written {
        let bytes = u32::try_from(n.words().len() * 8).ok().filter(|bytes| *bytes < 1 << 30);
        let bytes = bytes.ok_or("a BigInt with too many digits")?;
        self.varint(bytes << 1 | u32::from(n.is_negative()));
        for word in n.words() {
            self.out.extend_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    fn structured_clone(&mut self, rich: &StructuredClone) -> Written {
        match rich {
            StructuredClone::Undefined => self.byte(tag::UNDEFINED),
            StructuredClone::BigInt(n) => {
                self.byte(tag::BIG_INT);
                return self.big_int(n);
            }
            StructuredClone::Utf16(units) => return self.utf16(units.len(), units.iter().copied()),
            StructuredClone::Date(time) => {
                self.begin(tag::DATE);
                self.double(*time);
            }
            StructuredClone::RegExp { source, flags } => {
                self.begin(tag::REG_EXP);
                self.string(source)?;
                let mut bits = 0;
                for flag in flags.chars() {
                    let known = tag::REG_EXP_FLAGS.iter().find(|(letter, _)| *letter == flag);
                    let (_, bit) = known.ok_or_else(|| format!("a RegExp has no flag {flag:?}"))?;
                    bits |= bit;
                }
                self.varint(bits);
            }
            StructuredClone::Boxed(value) => return self.boxed(value),
            StructuredClone::Map(entries) => {
                self.begin(tag::MAP);
                for (key, value) in entries {
                    self.value(key)?;
                    self.value(value)?;
                }
                self.byte(tag::END_MAP);
                return self.count(entries.len() * 2);
            }
            StructuredClone::Set(values) => {
                self.begin(tag::SET);
                for value in values {
                    self.value(value)?;
                }
                self.byte(tag::END_SET);
                return self.count(values.len());
            }
            StructuredClone::Error(error) => return self.error(error),
            StructuredClone::ArrayBuffer { bytes, max_length } => {
                if max_length.is_some_and(|max| (max as usize) < bytes.len()) {
                    return Err("an ArrayBuffer that is longer than it may get".into());
                }
                let resizable = max_length.is_some();
                self.begin(if resizable { tag::RESIZABLE_ARRAY_BUFFER } else { tag::ARRAY_BUFFER });
                self.count(bytes.len())?;
                if let Some(max) = max_length {
                    self.varint(*max);
                }
                self.out.extend_from_slice(bytes);
            }
            StructuredClone::View { kind, bytes } => return self.view(*kind, bytes),
            StructuredClone::Array { length, elements, members } => {
                self.begin(tag::SPARSE_ARRAY);
                self.varint(*length);
                let mut next = 0;
                for (index, value) in elements {
                    if *index < next || index >= length {
                        return Err(format!("an array's element {index} is out of its place"));
                    }
                    next = index + 1;
                    match i32::try_from(*index) {
                        Ok(index) => self.int32(index),
                        Err(_) => {
                            self.byte(tag::DOUBLE);
                            self.double(f64::from(*index));
                        }
                    }
                    self.value(value)?;
                }
                self.members(members)?;
                self.byte(tag::END_SPARSE_ARRAY);
                self.count(elements.len() + members.len())?;
                self.varint(*length);
            }
            StructuredClone::Back(distance) => {
                let number = self.objects.checked_sub(*distance).filter(|_| *distance > 0);
                let number = number
                    .ok_or_else(|| format!("no object begins {distance} before a reference"))?;
                self.byte(tag::REFERENCE);
                self.varint(number);
            }
        }
        Ok(())
    }

    fn boxed(&mut self, value: &Value) -> Written {
        match value {
            Value::Bool(true) => self.begin(tag::TRUE_OBJECT),
            Value::Bool(false) => self.begin(tag::FALSE_OBJECT),
            Value::Number(n) => {
                exact(*n)?;
                self.begin(tag::NUMBER_OBJECT);
                self.double(n.as_f64());
            }
            Value::String(text) => {
                self.begin(tag::STRING_OBJECT);
                return self.string(text);
            }
            Value::StructuredClone(rich) => match &**rich {
                StructuredClone::BigInt(n) => {
                    self.begin(tag::BIG_INT_OBJECT);
                    return self.big_int(n);
                }
                StructuredClone::Utf16(units) => {
                    self.begin(tag::STRING_OBJECT);
                    return self.utf16(units.len(), units.iter().copied());
                }
                _ => return Err("an object around what is no primitive value".into()),
            },
            _ => return Err("an object around what is no primitive value".into()),
        }
        Ok(())
    }

    fn error(&mut self, error: &ErrorValue) -> Written {
        self.begin(tag::ERROR);
        if let Some((class, _)) = tag::error::CLASSES.iter().find(|(_, c)| *c == error.class) {
            self.byte(*class);
        }
        // The cause last: of one that stands before the stack a Node of today dies.
        for (tag, part) in
            [(tag::error::MESSAGE, &error.message), (tag::error::STACK, &error.stack)]
        {
            let Some(text) = part else { continue };
            self.byte(tag);
            match (text, text.as_structured_clone()) {
                (Value::String(text), _) => self.string(text)?,
                (_, Some(StructuredClone::Utf16(units))) => {
                    self.utf16(units.len(), units.iter().copied())?;
                }
                _ => return Err("an error whose message or stack is no text".into()),
            }
        }
        if let Some(cause) = &error.cause {
            self.byte(tag::error::CAUSE);
            self.value(cause)?;
        }
        self.byte(tag::error::END);
        Ok(())
    }

    fn view(&mut self, kind: ViewKind, bytes: &[u8]) -> Written {
        if !bytes.len().is_multiple_of(kind.element_size()) {
            return Err(format!("{} bytes are no {}", bytes.len(), kind.name()));
        }
        self.begin(tag::HOST_OBJECT);
        self.varint(tag::HOST_VIEW);
        self.varint(kind.index());
        self.count(bytes.len())?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

fn exact(n: Number) -> Written {
    if n.is_exact_as_f64() {
        return Ok(());
    }
    Err(format!("JavaScript has no number {n}, it would be rounded: use a BigInt"))
}
