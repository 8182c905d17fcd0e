//! Values that JSON cannot say, said in JSON: for programs that speak nothing else.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::structured_clone::{BigInt, ErrorClass, ErrorValue, StructuredClone, ViewKind};
use crate::value::{MAX_DEPTH, Number, Object, Value};

const TYPE: &str = "$type";
const VALUE: &str = "value";

/// The values of numbers for which JSON has no digits.
const ODD_NUMBERS: [(&str, f64); 4] = [
    ("NaN", f64::NAN),
    ("Infinity", f64::INFINITY),
    ("-Infinity", f64::NEG_INFINITY),
    ("-0", -0.0),
];

impl Value {
    /// The value with all that JSON cannot say written as `{"$type": …, "value": …}`.
    ///
    /// | `$type` | `value` | further members |
    /// | --- | --- | --- |
    /// | `"undefined"` | – | |
    /// | `"Number"` | `"NaN"`, `"Infinity"`, `"-Infinity"` or `"-0"` | |
    /// | `"BigInt"` | its digits in hexadecimal, `"-ff"` say | |
    /// | `"Utf16"` | a string with lone surrogates: its code units, an array of numbers | |
    /// | `"Date"` | milliseconds since 1970, null if invalid | |
    /// | `"RegExp"` | what stands between the slashes | `flags` |
    /// | `"Boxed"` | the primitive value in the object | |
    /// | `"Map"` | an array of arrays of key and value | |
    /// | `"Set"` | an array | |
    /// | `"Error"`, `"TypeError"`, … | the message | `stack`, `cause` |
    /// | `"ArrayBuffer"` | base64 | `maxByteLength` |
    /// | `"Buffer"`, `"Uint8Array"`, `"DataView"`, … | base64 | |
    /// | `"Array"` | an array's elements as `[index, value]` each | `length`, `members` |
    /// | `"reference"` | how many objects back from here the one begins that stands here again | |
    /// | `"Object"` | an object that has a member `$type` of its own | |
    ///
    /// [`from_tagged`](Self::from_tagged) is the way back.
    ///
    /// ```
    /// use cluster_proto::Value;
    ///
    /// let tagged = Value::buffer(*b"hi").to_tagged();
    /// assert_eq!(tagged["$type"].as_str(), Some("Buffer"));
    /// assert_eq!(tagged["value"].as_str(), Some("aGk="));
    /// assert_eq!(Value::from_tagged(tagged)?, Value::buffer(*b"hi"));
    /// # Ok::<(), cluster_proto::TaggedError>(())
    /// ```
    pub fn to_tagged(&self) -> Value {
        match self {
            Self::Null | Self::Bool(_) | Self::String(_) => self.clone(),
            Self::Number(n) => match odd_number(*n) {
                Some(name) => tagged("Number", name).into(),
                None => self.clone(),
            },
            Self::Array(items) => Self::Array(items.iter().map(Self::to_tagged).collect()),
            Self::Object(object) => {
                let plain = members(object);
                if object.member(TYPE).is_some() { tagged("Object", plain).into() } else { plain }
            }
            Self::StructuredClone(rich) => structured_clone_to_tagged(rich).into(),
        }
    }

    /// The value that [`to_tagged`](Self::to_tagged) wrote so.
    ///
    /// # Errors
    /// [`TaggedError`] for a `$type` that is not known, or whose members do not fit, and if the
    /// description nests deeper than 508 levels. (The value that it describes may nest deeper than
    /// 127, and is refused when it is sent.)
    pub fn from_tagged(tagged: Value) -> Result<Value, TaggedError> {
        read(tagged, MAX_DEPTH * 4)
    }
}

fn odd_number(n: Number) -> Option<&'static str> {
    let n = n.as_f64();
    let odd = ODD_NUMBERS.iter().find(|(_, odd)| {
        if n == 0.0 {
            *odd == 0.0 && n.is_sign_negative()
        } else {
            n == *odd || (n.is_nan() && odd.is_nan())
        }
    });
    odd.map(|(name, _)| *name)
}

fn tagged(kind: &str, value: impl Into<Value>) -> Object {
    Object::new().with(TYPE, kind).with(VALUE, value)
}

fn members(object: &Object) -> Value {
    let members = object.iter().map(|(name, value)| (name.into(), value.to_tagged()));
    Object::from_members(members.collect()).into()
}

fn structured_clone_to_tagged(rich: &StructuredClone) -> Object {
    let list = |values: &[Value]| Value::Array(values.iter().map(Value::to_tagged).collect());
    match rich {
        StructuredClone::Undefined => Object::new().with(TYPE, "undefined"),
        StructuredClone::BigInt(n) => tagged("BigInt", hexadecimal(n)),
        StructuredClone::Utf16(units) => {
            tagged("Utf16", Value::Array(units.iter().map(|unit| (*unit).into()).collect()))
        }
        StructuredClone::Date(time) if time.is_nan() => tagged("Date", Value::Null),
        // Whole ones as whole numbers: that is how people know them.
        StructuredClone::Date(time) => match Number::from(*time).as_i64() {
            Some(whole) if whole != 0 || time.is_sign_positive() => tagged("Date", whole),
            _ => tagged("Date", Value::from(*time).to_tagged()),
        },
        StructuredClone::RegExp { source, flags } => {
            tagged("RegExp", source.as_str()).with("flags", flags.as_str())
        }
        StructuredClone::Boxed(value) => tagged("Boxed", value.to_tagged()),
        StructuredClone::Map(entries) => {
            let entry = |(key, value): &(Value, Value)| {
                Value::Array(alloc::vec![key.to_tagged(), value.to_tagged()])
            };
            tagged("Map", Value::Array(entries.iter().map(entry).collect()))
        }
        StructuredClone::Set(values) => tagged("Set", list(values)),
        StructuredClone::Error(error) => {
            let mut object = Object::new().with(TYPE, error.class.name());
            let parts = [(VALUE, &error.message), ("stack", &error.stack), ("cause", &error.cause)];
            for (name, part) in parts {
                if let Some(part) = part {
                    object.insert(name, part.to_tagged());
                }
            }
            object
        }
        StructuredClone::ArrayBuffer { bytes, max_length } => {
            let object = tagged("ArrayBuffer", BASE64.encode(bytes));
            match max_length {
                Some(max) => object.with("maxByteLength", *max),
                None => object,
            }
        }
        StructuredClone::View { kind, bytes } => tagged(kind.name(), BASE64.encode(bytes)),
        StructuredClone::Array { length, elements, members: named } => {
            let element = |(index, value): &(u32, Value)| {
                Value::Array(alloc::vec![(*index).into(), value.to_tagged()])
            };
            tagged("Array", Value::Array(elements.iter().map(element).collect()))
                .with("length", *length)
                .with("members", members(named))
        }
        StructuredClone::Back(distance) => tagged("reference", *distance),
    }
}

fn hexadecimal(n: &BigInt) -> String {
    let mut digits = String::from(if n.is_negative() { "-" } else { "" });
    match n.words().split_last() {
        None => digits.push('0'),
        Some((first, rest)) => {
            digits.push_str(&alloc::format!("{first:x}"));
            for word in rest.iter().rev() {
                digits.push_str(&alloc::format!("{word:016x}"));
            }
        }
    }
    digits
}

fn big_int(digits: &str) -> Option<BigInt> {
    let (negative, digits) = match digits.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, digits),
    };
    // Of `from_str_radix` a sign would be taken.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let words = digits.as_bytes().rchunks(16).map(|chunk| {
        let chunk = core::str::from_utf8(chunk).ok()?;
        u64::from_str_radix(chunk, 16).ok()
    });
    Some(BigInt::new(negative, words.collect::<Option<_>>()?))
}

/// Why a value is not what [`Value::to_tagged`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaggedError {
    /// There is no such `$type`.
    UnknownType {
        /// What stands there.
        name: String,
    },
    /// What goes with a `$type` does not fit.
    Unfit {
        /// The `$type`.
        name: String,
    },
    /// It nests too deep.
    TooDeep,
}

impl fmt::Display for TaggedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType { name } => write!(f, "there is no $type {name:?}"),
            Self::Unfit { name } => {
                write!(f, "the $type {name:?} needs {}", needs(name))
            }
            Self::TooDeep => f.write_str("it nests too deep"),
        }
    }
}

impl core::error::Error for TaggedError {}

/// What stands beside a `$type`.
fn needs(name: &str) -> &'static str {
    match name {
        "Number" => "a \"value\" of \"NaN\", \"Infinity\", \"-Infinity\" or \"-0\"",
        "BigInt" => "a \"value\" of hexadecimal digits, \"-ff\" say",
        "Utf16" => "a \"value\" that is an array of code units",
        "Date" => "a \"value\" in milliseconds since 1970, or null",
        "RegExp" => "a \"value\" that is its source, and \"flags\"",
        "Map" => "a \"value\" that is an array of arrays of a key and a value each",
        "Set" => "a \"value\" that is an array",
        "Array" => "a \"value\" of [index, value] each, a \"length\" and \"members\"",
        "ArrayBuffer" => "a \"value\" in base64, with padding, and perhaps \"maxByteLength\"",
        "reference" => "a \"value\" that counts objects back from here",
        "Object" => "a \"value\" that is an object",
        "Boxed" => "a \"value\"",
        _ => "a \"value\" in base64, with padding, of as many bytes as its elements take",
    }
}

fn read(value: Value, depth: usize) -> Result<Value, TaggedError> {
    let Some(depth) = depth.checked_sub(1) else { return Err(TaggedError::TooDeep) };
    match value {
        Value::Array(items) => {
            let items: Result<_, _> = items.into_iter().map(|item| read(item, depth)).collect();
            Ok(Value::Array(items?))
        }
        Value::Object(object) if object.member(TYPE).is_some() => read_tagged(object, depth),
        Value::Object(object) => Ok(read_members(object, depth)?.into()),
        plain => Ok(plain),
    }
}

fn read_members(object: Object, depth: usize) -> Result<Object, TaggedError> {
    let members = object.into_members().into_iter();
    let members = members.map(|(name, value)| Ok((name, read(value, depth)?)));
    Ok(Object::from_members(members.collect::<Result<_, _>>()?))
}

fn read_tagged(mut object: Object, depth: usize) -> Result<Value, TaggedError> {
    let name = match object.remove(TYPE) {
        Some(Value::String(name)) => name,
        other => {
            let name = other.map_or_else(String::new, |other| alloc::format!("{other:?}"));
            return Err(TaggedError::UnknownType { name });
        }
    };
    let unfit = || TaggedError::Unfit { name: name.clone() };
    let value = object.remove(VALUE);
    let error = ErrorClass::ALL.into_iter().find(|class| class.name() == name);
    if let Some(class) = error {
        let part = |part: Option<Value>| part.map(|part| read(part, depth)).transpose();
        let message = part(value)?;
        let (stack, cause) = (part(object.remove("stack"))?, part(object.remove("cause"))?);
        return Ok(ErrorValue { class, message, stack, cause }.into());
    }
    if name == "undefined" {
        return Ok(Value::undefined());
    }
    let Some(value) = value else {
        return Err(match KNOWN.contains(&name.as_str()) || is_view(&name) {
            true => unfit(),
            false => TaggedError::UnknownType { name },
        });
    };
    if let Some(kind) = ViewKind::ALL.iter().find(|kind| kind.name() == name) {
        return Ok(
            StructuredClone::View { kind: *kind, bytes: bytes(&value).ok_or_else(unfit)? }.into()
        );
    }
    Ok(match (name.as_str(), value) {
        ("Number", Value::String(text)) => {
            let odd = ODD_NUMBERS.iter().find(|(name, _)| *name == text);
            odd.map(|(_, n)| *n).ok_or_else(unfit)?.into()
        }
        ("BigInt", Value::String(digits)) => big_int(&digits).ok_or_else(unfit)?.into(),
        ("Utf16", Value::Array(units)) => {
            let units = units.iter().map(|unit| u16::try_from(unit.as_u64()?).ok());
            let units: Vec<u16> = units.collect::<Option<_>>().ok_or_else(unfit)?;
            match String::from_utf16(&units) {
                Ok(text) => text.into(),
                Err(_) => StructuredClone::Utf16(units).into(),
            }
        }
        ("Date", Value::Null) => StructuredClone::Date(f64::NAN).into(),
        ("Date", time) => {
            StructuredClone::Date(read(time, depth)?.as_f64().ok_or_else(unfit)?).into()
        }
        ("RegExp", Value::String(source)) => {
            let flags = object.member("flags").and_then(Value::as_str);
            StructuredClone::RegExp { source, flags: flags.unwrap_or_default().to_string() }.into()
        }
        ("Boxed", value) => StructuredClone::Boxed(Box::new(read(value, depth)?)).into(),
        ("Map", Value::Array(entries)) => {
            let entry = |entry| match entry {
                Value::Array(entry) => {
                    let [key, value] = <[Value; 2]>::try_from(entry).map_err(|_| unfit())?;
                    Ok((read(key, depth)?, read(value, depth)?))
                }
                _ => Err(unfit()),
            };
            StructuredClone::Map(entries.into_iter().map(entry).collect::<Result<_, _>>()?).into()
        }
        ("Set", Value::Array(values)) => {
            let values = values.into_iter().map(|value| read(value, depth));
            StructuredClone::Set(values.collect::<Result<_, _>>()?).into()
        }
        ("ArrayBuffer", value) => {
            let max_length = match object.member("maxByteLength") {
                None | Some(Value::Null) => None,
                Some(max) => {
                    Some(max.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(unfit)?)
                }
            };
            StructuredClone::ArrayBuffer { bytes: bytes(&value).ok_or_else(unfit)?, max_length }
                .into()
        }
        ("Array", Value::Array(elements)) => {
            let length = object.member("length").and_then(index).ok_or_else(unfit)?;
            let element = |element| match element {
                Value::Array(element) => {
                    let [at, value] = <[Value; 2]>::try_from(element).map_err(|_| unfit())?;
                    Ok((index(&at).ok_or_else(unfit)?, read(value, depth)?))
                }
                _ => Err(unfit()),
            };
            let elements = elements.into_iter().map(element).collect::<Result<Vec<_>, _>>()?;
            let members = match object.remove("members") {
                None | Some(Value::Null) => Object::new(),
                Some(Value::Object(members)) => read_members(members, depth)?,
                Some(_) => return Err(unfit()),
            };
            StructuredClone::Array { length, elements, members }.into()
        }
        ("reference", value) => StructuredClone::Back(index(&value).ok_or_else(unfit)?).into(),
        ("Object", Value::Object(object)) => read_members(object, depth)?.into(),
        (known, _) if KNOWN.contains(&known) => return Err(unfit()),
        _ => return Err(TaggedError::UnknownType { name }),
    })
}

/// The types that need a `value`, but for views.
const KNOWN: [&str; 12] = [
    "Number",
    "BigInt",
    "Utf16",
    "Date",
    "RegExp",
    "Boxed",
    "Map",
    "Set",
    "ArrayBuffer",
    "Array",
    "reference",
    "Object",
];

fn is_view(name: &str) -> bool {
    ViewKind::ALL.iter().any(|kind| kind.name() == name)
}

fn index(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    BASE64.decode(value.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_an_object_of_a_users_own_says_of_itself_is_not_believed() {
        let object = Value::from(Object::new().with("$type", "Buffer").with("value", "aGk="));
        let tagged = object.to_tagged();
        assert_eq!(tagged["$type"].as_str(), Some("Object"));
        assert_eq!(Value::from_tagged(tagged), Ok(object));
    }

    #[test]
    fn odd_numbers_keep_their_kind() {
        for (name, n) in ODD_NUMBERS {
            let tagged = Value::from(n).to_tagged();
            assert_eq!(tagged["value"].as_str(), Some(name));
            let back = Value::from_tagged(tagged).unwrap().as_f64().unwrap();
            assert_eq!(back.to_bits(), n.to_bits());
        }
        assert_eq!(Value::from(0.0).to_tagged(), Value::from(0));
    }

    #[test]
    fn big_numbers_are_hexadecimal() {
        for (digits, n) in [("0", 0), ("-1", -1), ("ff", 255), ("10000000000000000", 1_i128 << 64)]
        {
            let value = Value::from(BigInt::from(n));
            assert_eq!(value.to_tagged()["value"].as_str(), Some(digits));
            assert_eq!(Value::from_tagged(value.to_tagged()), Ok(value));
        }
        for odd in ["", "-", "+1", "0x1", "1 "] {
            assert!(Value::from_tagged(tagged("BigInt", odd).into()).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_that_names_it() {
        let error = Value::from_tagged(tagged("Teapot", 1).into()).unwrap_err();
        assert_eq!(error.to_string(), "there is no $type \"Teapot\"");
        let error = Value::from_tagged(tagged("Set", 1).into()).unwrap_err();
        assert_eq!(error, TaggedError::Unfit { name: "Set".into() });
        let deep = (0..1_000).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert_eq!(Value::from_tagged(deep), Err(TaggedError::TooDeep));
    }
}
