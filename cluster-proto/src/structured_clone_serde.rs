//! [`StructuredClone`] for formats that do not describe themselves: taken apart into lists of a few kinds, so
//! that one reader with a depth limit does for all of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::convert::Infallible;
use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use crate::structured_clone::{BigInt, ErrorClass, ErrorValue, StructuredClone, ViewKind};
use crate::value::{Object, Value};
use crate::value_serde::Items;

/// A [`StructuredClone`], taken apart.
pub(crate) struct Parts<V> {
    kind: u8,
    bytes: Vec<u8>,
    texts: Vec<String>,
    values: V,
}

impl<'a> Parts<Vec<&'a Value>> {
    pub(crate) fn of(rich: &'a StructuredClone) -> Self {
        let mut bytes = Vec::new();
        let mut texts = Vec::new();
        let kind = match rich {
            StructuredClone::Undefined => 0,
            StructuredClone::BigInt(n) => {
                bytes.push(u8::from(n.is_negative()));
                bytes.extend(n.words().iter().flat_map(|word| word.to_le_bytes()));
                1
            }
            StructuredClone::Utf16(units) => {
                bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
                2
            }
            StructuredClone::Date(time) => {
                bytes.extend(time.to_le_bytes());
                3
            }
            StructuredClone::RegExp { source, flags } => {
                texts.extend([source.clone(), flags.clone()]);
                4
            }
            StructuredClone::Boxed(_) => 5,
            StructuredClone::Map(_) => 6,
            StructuredClone::Set(_) => 7,
            StructuredClone::Error(error) => {
                let parts = [&error.message, &error.stack, &error.cause];
                bytes.push(error.class as u8);
                bytes.extend(parts.map(|part| u8::from(part.is_some())));
                8
            }
            StructuredClone::ArrayBuffer { bytes: held, max_length } => {
                bytes.push(u8::from(max_length.is_some()));
                bytes.extend(max_length.unwrap_or_default().to_le_bytes());
                bytes.extend(held);
                9
            }
            StructuredClone::View { kind, bytes: shown } => {
                bytes.push(*kind as u8);
                bytes.extend(shown);
                10
            }
            StructuredClone::Array { length, elements, members } => {
                bytes.extend(length.to_le_bytes());
                bytes.extend(elements.iter().flat_map(|(index, _)| index.to_le_bytes()));
                texts.extend(members.iter().map(|(name, _)| name.into()));
                11
            }
            StructuredClone::Back(distance) => {
                bytes.extend(distance.to_le_bytes());
                12
            }
        };
        Self { kind, bytes, texts, values: rich.parts().collect() }
    }
}

impl Parts<Vec<Value>> {
    /// Puts it together, if it fits.
    pub(crate) fn into_structured_clone(self) -> Option<StructuredClone> {
        let Self { kind, bytes, texts, values } = self;
        let held = values.len();
        let mut values = values.into_iter();
        let rich = match kind {
            0 => StructuredClone::Undefined,
            1 => {
                let (negative, words) = bytes.split_first()?;
                let words = whole::<8>(words)?.into_iter().map(u64::from_le_bytes).collect();
                StructuredClone::BigInt(BigInt::new(*negative == 1, words))
            }
            2 => StructuredClone::Utf16(
                whole::<2>(&bytes)?.into_iter().map(u16::from_le_bytes).collect(),
            ),
            3 => StructuredClone::Date(f64::from_le_bytes(bytes.try_into().ok()?)),
            4 => {
                let [source, flags] = texts.try_into().ok()?;
                return Some(StructuredClone::RegExp { source, flags });
            }
            5 => StructuredClone::Boxed(values.next()?.into()),
            6 => {
                let mut entries = Vec::with_capacity(held / 2);
                while let Some(key) = values.next() {
                    entries.push((key, values.next()?));
                }
                StructuredClone::Map(entries)
            }
            7 => StructuredClone::Set(values.by_ref().collect()),
            8 => {
                let [class, message, stack, cause] = <[u8; 4]>::try_from(bytes).ok()?;
                let class = ErrorClass::ALL.into_iter().find(|c| *c as u8 == class)?;
                let mut part = |there: u8| match there {
                    0 => Some(None),
                    _ => values.next().map(Some),
                };
                let (message, stack, cause) = (part(message)?, part(stack)?, part(cause)?);
                StructuredClone::Error(ErrorValue { class, message, stack, cause }.into())
            }
            9 => {
                let (head, held) = bytes.split_at_checked(5)?;
                let max = u32::from_le_bytes(head[1..].try_into().ok()?);
                StructuredClone::ArrayBuffer {
                    bytes: held.into(),
                    max_length: (head[0] == 1).then_some(max),
                }
            }
            10 => {
                let (kind, shown) = bytes.split_first()?;
                let kind = *ViewKind::ALL.iter().find(|known| **known as u8 == *kind)?;
                StructuredClone::View { kind, bytes: shown.into() }
            }
            11 => {
                let mut numbers = whole::<4>(&bytes)?.into_iter().map(u32::from_le_bytes);
                let length = numbers.next()?;
                let indices: Vec<u32> = numbers.collect();
                if indices.len() + texts.len() != held {
                    return None;
                }
                let elements = indices.into_iter().zip(values.by_ref()).collect();
                let members = texts.into_iter().zip(values.by_ref()).collect();
                let members = Object::from_members(members);
                return Some(StructuredClone::Array { length, elements, members });
            }
            12 => StructuredClone::Back(u32::from_le_bytes(bytes.try_into().ok()?)),
            _ => return None,
        };
        values.next().is_none().then_some(rich)
    }
}

/// The bytes in groups of that many, if that comes out even.
fn whole<const N: usize>(bytes: &[u8]) -> Option<Vec<[u8; N]>> {
    let groups = bytes.chunks_exact(N);
    if !groups.remainder().is_empty() {
        return None;
    }
    groups.map(|group| group.try_into().ok()).collect()
}

/// Bytes as the format's own, not as a list of numbers.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(self.0)
    }
}

impl Serialize for Parts<Vec<&Value>> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut tuple = s.serialize_tuple(4)?;
        tuple.serialize_element(&self.kind)?;
        tuple.serialize_element(&Bytes(&self.bytes))?;
        tuple.serialize_element(&self.texts)?;
        tuple.serialize_element(&self.values)?;
        tuple.end()
    }
}

/// Reads [`Parts`], at most `depth` levels of values.
pub(crate) struct PartsSeed<'l> {
    pub(crate) depth: usize,
    pub(crate) left: &'l Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for PartsSeed<'_> {
    type Value = Parts<Vec<Value>>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_tuple(4, self)
    }
}

impl<'de> Visitor<'de> for PartsSeed<'_> {
    type Value = Parts<Vec<Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has no form for")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let short = || A::Error::custom("it ends too early");
        let kind = seq.next_element()?.ok_or_else(short)?;
        let bytes = seq.next_element_seed(BytesSeed)?.ok_or_else(short)?;
        let texts = seq.next_element()?.ok_or_else(short)?;
        // At the last level only what holds nothing may stand.
        let values = match self.depth {
            0 => seq.next_element_seed(NoItems)?,
            depth => seq.next_element_seed(Items { depth, left: self.left })?,
        };
        Ok(Parts { kind, bytes, texts, values: values.ok_or_else(short)? })
    }
}

/// An empty list. What stands in another is not looked at: it may nest without end.
struct NoItems;

impl<'de> DeserializeSeed<'de> for NoItems {
    type Value = Vec<Value>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<Value>, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for NoItems {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an empty list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Value>, A::Error> {
        match seq.next_element_seed(Refused)? {
            None => Ok(Vec::new()),
            Some(never) => match never {},
        }
    }
}

/// A value where none may be.
struct Refused;

impl<'de> DeserializeSeed<'de> for Refused {
    type Value = Infallible;
    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<Infallible, D::Error> {
        Err(D::Error::custom("it nests too deep"))
    }
}

struct BytesSeed;

impl<'de> DeserializeSeed<'de> for BytesSeed {
    type Value = Vec<u8>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<u8>, D::Error> {
        d.deserialize_bytes(self)
    }
}

impl Visitor<'_> for BytesSeed {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }
}
