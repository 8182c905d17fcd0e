//! serde for [`Value`]: JSON's own shape where the format describes itself, a tagged one elsewhere.
//!
//! The tagged form is read with a depth limit, since its input may come from a hostile peer and
//! the formats that use it have none. (JSON's reader limits depth by itself.)

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::structured_clone::StructuredClone;
use crate::structured_clone_serde::{Parts, PartsSeed};
use crate::value::{MAX_DEPTH, Number, Object, Repr, Value};

/// Elements for which room is made before they were read: a length is only a claim.
pub(crate) const MAX_PREALLOCATED: usize = 1024;

const NAME: &str = "Value";

/// The variants of the tagged form; the order is the wire's.
const VARIANTS: &[&str] =
    &["null", "bool", "unsigned", "negative", "float", "string", "array", "object", "rich"];

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { serialize_plain(self, s) } else { serialize_tagged(self, s) }
    }
}

fn serialize_plain<S: Serializer>(value: &Value, s: S) -> Result<S::Ok, S::Error> {
    match value {
        Value::Null => s.serialize_unit(),
        Value::Bool(b) => s.serialize_bool(*b),
        Value::Number(Number(Repr::Unsigned(n))) => s.serialize_u64(*n),
        Value::Number(Number(Repr::Negative(n))) => s.serialize_i64(*n),
        Value::Number(Number(Repr::Float(n))) => s.serialize_f64(*n),
        Value::String(text) => s.serialize_str(text),
        Value::Array(items) => s.collect_seq(items),
        Value::Object(object) => object.serialize(s),
        // `JSON.stringify` leaves a member out, and makes an element null.
        Value::StructuredClone(rich) if **rich == StructuredClone::Undefined => s.serialize_unit(),
        Value::StructuredClone(rich) => Err(serde::ser::Error::custom(format_args!(
            "JSON has no form for a {} (the serialization advanced has)",
            rich.name()
        ))),
    }
}

fn serialize_tagged<S: Serializer>(value: &Value, s: S) -> Result<S::Ok, S::Error> {
    let tag = |at: u32| (NAME, at, VARIANTS[at as usize]);
    match value {
        Value::Null => {
            let (name, at, variant) = tag(0);
            s.serialize_unit_variant(name, at, variant)
        }
        Value::Bool(b) => newtype(s, tag(1), b),
        Value::Number(Number(Repr::Unsigned(n))) => newtype(s, tag(2), n),
        Value::Number(Number(Repr::Negative(n))) => newtype(s, tag(3), n),
        Value::Number(Number(Repr::Float(n))) => newtype(s, tag(4), n),
        Value::String(text) => newtype(s, tag(5), text),
        Value::Array(items) => newtype(s, tag(6), items),
        Value::Object(object) => newtype(s, tag(7), object),
        Value::StructuredClone(rich) => newtype(s, tag(8), &Parts::of(rich)),
    }
}

fn newtype<S: Serializer, T: Serialize + ?Sized>(
    s: S,
    (name, at, variant): (&'static str, u32, &'static str),
    inner: &T,
) -> Result<S::Ok, S::Error> {
    s.serialize_newtype_variant(name, at, variant, inner)
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let plain = s.is_human_readable();
        let written = || self.iter().filter(|(_, value)| !plain || !value.is_undefined());
        let mut map = s.serialize_map(Some(written().count()))?;
        for (name, value) in written() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            d.deserialize_any(Plain)
        } else {
            Tagged::within(&Cell::new(usize::MAX)).deserialize(d)
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let left = Cell::new(usize::MAX);
        d.deserialize_map(Members { depth: MAX_DEPTH, left: &left })
    }
}

struct Plain;

impl<'de> Visitor<'de> for Plain {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(Value::Bool(b))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(n.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Value::Object(Object::from_members(members)))
    }
}

/// Reads the tagged form, at most `depth` levels of it, and as many values as are `left`.
#[derive(Clone, Copy)]
pub(crate) struct Tagged<'l> {
    depth: usize,
    left: &'l Cell<usize>,
}

impl<'l> Tagged<'l> {
    pub(crate) fn within(left: &'l Cell<usize>) -> Self {
        Self { depth: MAX_DEPTH, left }
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom("the value nests too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tagged<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_enum(NAME, VARIANTS, self)
    }
}

impl<'de> Visitor<'de> for Tagged<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tagged value")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Value, A::Error> {
        let (tag, content) = data.variant::<u32>()?;
        let (depth, left) = (self.depth, self.left);
        let rest = left.get().checked_sub(1);
        left.set(rest.ok_or_else(|| A::Error::custom("too many values"))?);
        Ok(match tag {
            0 => {
                content.unit_variant()?;
                Value::Null
            }
            1 => Value::Bool(content.newtype_variant()?),
            2 => Value::from(content.newtype_variant::<u64>()?),
            3 => Value::from(content.newtype_variant::<i64>()?),
            4 => Value::from(content.newtype_variant::<f64>()?),
            5 => Value::String(content.newtype_variant()?),
            6 => Value::Array(content.newtype_variant_seed(Items { depth, left })?),
            7 => Value::Object(content.newtype_variant_seed(Members { depth, left })?),
            8 => {
                let parts = content.newtype_variant_seed(PartsSeed { depth, left })?;
                let rich = parts.into_structured_clone();
                rich.ok_or_else(|| A::Error::custom("a value that JSON has no form for, broken"))?
                    .into()
            }
            _ => return Err(A::Error::custom("an unknown kind of value")),
        })
    }
}

pub(crate) struct Items<'l> {
    pub(crate) depth: usize,
    pub(crate) left: &'l Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<Value>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Vec<Value>, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Value>, A::Error> {
        let deeper = Tagged { depth: self.depth, left: self.left }.deeper()?;
        let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(MAX_PREALLOCATED));
        while let Some(item) = seq.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(items)
    }
}

struct Members<'l> {
    depth: usize,
    left: &'l Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = Object;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Object, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let deeper = Tagged { depth: self.depth, left: self.left }.deeper()?;
        let mut members = Vec::with_capacity(map.size_hint().unwrap_or(0).min(MAX_PREALLOCATED));
        while let Some(name) = map.next_key()? {
            members.push((name, map.next_value_seed(deeper)?));
        }
        Ok(Object::from_members(members))
    }
}
