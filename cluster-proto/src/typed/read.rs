//! The type that JSON would read from a value.

use alloc::string::String;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::TypeError;
use crate::structured_clone::StructuredClone;
use crate::value::{Number, Object, Repr, Value};

/// Reads a value. Its depth is the message's, which the codecs limit.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(&'a Value);

impl<'a> Reader<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::StructuredClone(rich) => match &**rich {
                // `Object(1)` is 1 to JSON.
                StructuredClone::Boxed(inner) => Self::of(inner),
                _ => Self(value),
            },
            _ => Self(value),
        }
    }

    fn mismatch<T>(self, expected: &dyn serde::de::Expected) -> Result<T, TypeError> {
        let what = match self.0 {
            Value::Null => Unexpected::Other("null"),
            Value::Bool(b) => Unexpected::Bool(*b),
            Value::Number(Number(Repr::Unsigned(n))) => Unexpected::Unsigned(*n),
            Value::Number(Number(Repr::Negative(n))) => Unexpected::Signed(*n),
            Value::Number(Number(Repr::Float(n))) => Unexpected::Float(*n),
            Value::String(text) => Unexpected::Str(text),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
            Value::StructuredClone(rich) => Unexpected::Other(rich.name()),
        };
        Err(TypeError::invalid_type(what, expected))
    }
}

impl<'de> IntoDeserializer<'de, TypeError> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// All items, or an error that says that there are too many.
fn items<'a, V: Visitor<'a>>(
    items: impl ExactSizeIterator<Item = &'a Value>,
    visitor: V,
) -> Result<V::Value, TypeError> {
    let mut seq = SeqDeserializer::new(items.map(Reader::of));
    let value = visitor.visit_seq(&mut seq)?;
    seq.end()?;
    Ok(value)
}

fn members<'a, V: Visitor<'a>>(object: &'a Object, visitor: V) -> Result<V::Value, TypeError> {
    // JSON would not have them.
    let there = object.iter().filter(|(_, value)| !value.is_undefined());
    let members = there.map(|(name, value)| (Name(name), Reader::of(value)));
    let mut map = MapDeserializer::new(members);
    let value = visitor.visit_map(&mut map)?;
    map.end()?;
    Ok(value)
}

/// What a number is to a visitor: JavaScript's `3.0` is 3, as it is to JSON. (A structured clone carries most
/// whole numbers as doubles.)
fn number<'a, V: Visitor<'a>>(number: Number, visitor: V) -> Result<V::Value, TypeError> {
    match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => visitor.visit_u64(n),
        (_, Some(n)) => visitor.visit_i64(n),
        _ => visitor.visit_f64(number.as_f64()),
    }
}

/// The bytes that it is, if it is bytes.
fn bytes(rich: &StructuredClone) -> Option<&[u8]> {
    match rich {
        StructuredClone::ArrayBuffer { bytes, .. } => Some(bytes),
        StructuredClone::View { kind, bytes } => (kind.element_size() == 1).then_some(bytes),
        _ => None,
    }
}

fn structured_clone<'a, V: Visitor<'a>>(
    reader: Reader<'a>,
    rich: &'a StructuredClone,
    visitor: V,
) -> Result<V::Value, TypeError> {
    match rich {
        StructuredClone::Undefined => visitor.visit_unit(),
        StructuredClone::Utf16(units) => visitor.visit_string(String::from_utf16_lossy(units)),
        StructuredClone::Date(milliseconds) => number((*milliseconds).into(), visitor),
        StructuredClone::BigInt(n) => {
            match n.as_i128().map(|n| (u64::try_from(n), i64::try_from(n))) {
                Some((Ok(n), _)) => visitor.visit_u64(n),
                Some((_, Ok(n))) => visitor.visit_i64(n),
                _ => match n.as_i128() {
                    Some(n) => visitor.visit_i128(n),
                    None => reader.mismatch(&visitor),
                },
            }
        }
        StructuredClone::ArrayBuffer { .. } | StructuredClone::View { .. } => match bytes(rich) {
            Some(bytes) => visitor.visit_borrowed_bytes(bytes),
            None => reader.mismatch(&visitor),
        },
        StructuredClone::Set(values) => items(values.iter(), visitor),
        StructuredClone::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| (Reader::of(key), Reader::of(value)));
            let mut map = MapDeserializer::new(entries);
            let value = visitor.visit_map(&mut map)?;
            map.end()?;
            Ok(value)
        }
        _ => reader.mismatch(&visitor),
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => number(*n, visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(values) => items(values.iter(), visitor),
            Value::Object(object) => members(object, visitor),
            Value::StructuredClone(value) => structured_clone(self, value, visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            Value::StructuredClone(rich) if **rich == StructuredClone::Undefined => {
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        let bytes = if let Value::StructuredClone(rich) = self.0 { bytes(rich) } else { None };
        match bytes {
            Some(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        let (name, held) = match self.0 {
            Value::String(name) => (name.as_str(), None),
            Value::Object(object) if object.len() == 1 => {
                let (name, value) = object.iter().next().expect("it has one member");
                (name, Some(Reader::of(value)))
            }
            _ => return self.mismatch(&"a variant's name, or an object with that one member"),
        };
        visitor.visit_enum(Variant { name, held })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map struct identifier
    }
}

/// A variant of an enum.
struct Variant<'a> {
    name: &'a str,
    held: Option<Reader<'a>>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = TypeError;
    type Variant = Held<'de>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Held<'de>), TypeError> {
        let name: StrDeserializer<'_, TypeError> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Held(self.held)))
    }
}

/// What a variant holds.
struct Held<'a>(Option<Reader<'a>>);

impl<'a> Held<'a> {
    fn there(self, expected: &'static str) -> Result<Reader<'a>, TypeError> {
        self.0.ok_or_else(|| TypeError::invalid_type(Unexpected::UnitVariant, &expected))
    }
}

impl<'de> VariantAccess<'de> for Held<'de> {
    type Error = TypeError;

    fn unit_variant(self) -> Result<(), TypeError> {
        match self.0 {
            None | Some(Reader(Value::Null)) => Ok(()),
            Some(held) => held.mismatch(&"a variant that holds nothing"),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, TypeError> {
        seed.deserialize(self.there("a variant that holds a value")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TypeError> {
        self.there("a variant that holds several values")?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        self.there("a variant with fields")?.deserialize_map(visitor)
    }
}

/// A member's name, also where a map's keys are numbers or booleans, which JSON writes as strings.
#[derive(Clone, Copy)]
struct Name<'a>(&'a str);

impl<'de> IntoDeserializer<'de, TypeError> for Name<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! parsed {
    ($($method:ident, $visit:ident);* $(;)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
            match self.0.parse() {
                Ok(parsed) => visitor.$visit(parsed),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_borrowed_str(self.0)
    }

    parsed! {
        deserialize_bool, visit_bool;
        deserialize_i8, visit_i8;
        deserialize_i16, visit_i16;
        deserialize_i32, visit_i32;
        deserialize_i64, visit_i64;
        deserialize_i128, visit_i128;
        deserialize_u8, visit_u8;
        deserialize_u16, visit_u16;
        deserialize_u32, visit_u32;
        deserialize_u64, visit_u64;
        deserialize_u128, visit_u128;
        deserialize_f32, visit_f32;
        deserialize_f64, visit_f64;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        visitor.visit_enum(Variant { name: self.0, held: None })
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}
