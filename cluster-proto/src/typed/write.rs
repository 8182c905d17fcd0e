//! Any type to the value that JSON would make of it.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::ser::{
    Error as _, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct,
    SerializeStructVariant, SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
    Serializer,
};

use super::error::TypeError;
use crate::value::{Object, Value};
use crate::value_serde::MAX_PREALLOCATED;

type Written = Result<Value, TypeError>;

/// Makes a [`Value`].
pub(super) struct Writer;

/// An object whose one member has the variant's name.
fn variant(name: &'static str, value: Value) -> Value {
    Object::new().with(name, value).into()
}

impl Serializer for Writer {
    type Ok = Value;
    type Error = TypeError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Members;
    type SerializeStruct = Members;
    type SerializeStructVariant = Members;

    fn serialize_bool(self, b: bool) -> Written {
        Ok(b.into())
    }

    fn serialize_i8(self, n: i8) -> Written {
        Ok(i64::from(n).into())
    }

    fn serialize_i16(self, n: i16) -> Written {
        Ok(i64::from(n).into())
    }

    fn serialize_i32(self, n: i32) -> Written {
        Ok(n.into())
    }

    fn serialize_i64(self, n: i64) -> Written {
        Ok(n.into())
    }

    fn serialize_i128(self, n: i128) -> Written {
        match (u64::try_from(n), i64::try_from(n)) {
            (Ok(n), _) => Ok(n.into()),
            (_, Ok(n)) => Ok(n.into()),
            _ => Err(TypeError::custom("a number needs more than 64 bits")),
        }
    }

    fn serialize_u8(self, n: u8) -> Written {
        Ok(n.into())
    }

    fn serialize_u16(self, n: u16) -> Written {
        Ok(n.into())
    }

    fn serialize_u32(self, n: u32) -> Written {
        Ok(n.into())
    }

    fn serialize_u64(self, n: u64) -> Written {
        Ok(n.into())
    }

    fn serialize_u128(self, n: u128) -> Written {
        let n = u64::try_from(n);
        n.map(Value::from).map_err(|_| TypeError::custom("a number needs more than 64 bits"))
    }

    fn serialize_f32(self, n: f32) -> Written {
        self.serialize_f64(n.into())
    }

    /// JSON has no infinities and no NaN: `JSON.stringify` writes null.
    fn serialize_f64(self, n: f64) -> Written {
        Ok(if n.is_finite() { n.into() } else { Value::Null })
    }

    fn serialize_char(self, c: char) -> Written {
        Ok(c.to_string().into())
    }

    fn serialize_str(self, text: &str) -> Written {
        Ok(text.into())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Written {
        Ok(Value::Array(bytes.iter().map(|byte| (*byte).into()).collect()))
    }

    fn serialize_none(self) -> Written {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Written {
        Ok(name.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, of: &T) -> Written {
        of.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        of: &T,
    ) -> Written {
        Ok(variant(name, of.serialize(self)?))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Items, TypeError> {
        Ok(Items::of(None, length.unwrap_or_default()))
    }

    fn serialize_tuple(self, length: usize) -> Result<Items, TypeError> {
        Ok(Items::of(None, length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Items, TypeError> {
        Ok(Items::of(None, length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Items, TypeError> {
        Ok(Items::of(Some(name), length))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Members, TypeError> {
        Ok(Members::of(None, length.unwrap_or_default()))
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Members, TypeError> {
        Ok(Members::of(None, length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Members, TypeError> {
        Ok(Members::of(Some(name), length))
    }
}

/// An array that is being made, and the variant whose it is.
pub(super) struct Items {
    variant: Option<&'static str>,
    items: Vec<Value>,
}

impl Items {
    fn of(variant: Option<&'static str>, length: usize) -> Self {
        Self { variant, items: Vec::with_capacity(length.min(MAX_PREALLOCATED)) }
    }

    fn push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), TypeError> {
        self.items.push(item.serialize(Writer)?);
        Ok(())
    }

    fn done(self) -> Written {
        let items = Value::Array(self.items);
        Ok(match self.variant {
            Some(name) => variant(name, items),
            None => items,
        })
    }
}

macro_rules! items {
    ($($kind:ident, $push:ident);* $(;)?) => {$(
        impl $kind for Items {
            type Ok = Value;
            type Error = TypeError;

            fn $push<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), TypeError> {
                self.push(item)
            }

            fn end(self) -> Written {
                self.done()
            }
        }
    )*};
}

items! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

/// An object that is being made, and the variant whose it is.
pub(super) struct Members {
    variant: Option<&'static str>,
    members: Vec<(String, Value)>,
    name: Option<String>,
}

impl Members {
    fn of(variant: Option<&'static str>, length: usize) -> Self {
        let members = Vec::with_capacity(length.min(MAX_PREALLOCATED));
        Self { variant, members, name: None }
    }

    fn done(self) -> Written {
        let object = Object::from_members(self.members).into();
        Ok(match self.variant {
            Some(name) => variant(name, object),
            None => object,
        })
    }
}

impl SerializeMap for Members {
    type Ok = Value;
    type Error = TypeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TypeError> {
        self.name = Some(key.serialize(Name)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TypeError> {
        let none = || TypeError::custom("a map has a value without a key");
        let name = self.name.take().ok_or_else(none)?;
        self.members.push((name, value.serialize(Writer)?));
        Ok(())
    }

    fn end(self) -> Written {
        self.done()
    }
}

macro_rules! members {
    ($($kind:ident),*) => {$(
        impl $kind for Members {
            type Ok = Value;
            type Error = TypeError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), TypeError> {
                self.members.push((name.to_owned(), value.serialize(Writer)?));
                Ok(())
            }

            fn end(self) -> Written {
                self.done()
            }
        }
    )*};
}

members!(SerializeStruct, SerializeStructVariant);

/// A map's key as a member's name: JSON's are strings, and numbers and booleans are written as such.
struct Name;

fn no_name<T>() -> Result<T, TypeError> {
    Err(TypeError::custom("a map's key must be a string, a number or a boolean"))
}

macro_rules! names {
    ($($method:ident: $of:ty),* $(,)?) => {$(
        fn $method(self, key: $of) -> Result<String, TypeError> {
            Ok(key.to_string())
        }
    )*};
}

impl Serializer for Name {
    type Ok = String;
    type Error = TypeError;
    type SerializeSeq = Impossible<String, TypeError>;
    type SerializeTuple = Impossible<String, TypeError>;
    type SerializeTupleStruct = Impossible<String, TypeError>;
    type SerializeTupleVariant = Impossible<String, TypeError>;
    type SerializeMap = Impossible<String, TypeError>;
    type SerializeStruct = Impossible<String, TypeError>;
    type SerializeStructVariant = Impossible<String, TypeError>;

    names! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_char: char,
        serialize_str: &str,
    }

    fn serialize_f32(self, n: f32) -> Result<String, TypeError> {
        self.serialize_f64(n.into())
    }

    fn serialize_f64(self, n: f64) -> Result<String, TypeError> {
        if n.is_finite() { Ok(n.to_string()) } else { no_name() }
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<String, TypeError> {
        no_name()
    }

    fn serialize_none(self) -> Result<String, TypeError> {
        no_name()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<String, TypeError> {
        key.serialize(self)
    }

    fn serialize_unit(self) -> Result<String, TypeError> {
        no_name()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<String, TypeError> {
        no_name()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<String, TypeError> {
        Ok(name.to_owned())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        key: &T,
    ) -> Result<String, TypeError> {
        key.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<String, TypeError> {
        no_name()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, TypeError> {
        no_name()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, TypeError> {
        no_name()
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, TypeError> {
        no_name()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, TypeError> {
        no_name()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, TypeError> {
        no_name()
    }

    fn serialize_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStruct, TypeError> {
        no_name()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, TypeError> {
        no_name()
    }
}
