//! What JavaScript can say and JSON cannot.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::value::{Object, Value};

/// A JavaScript value that JSON has no form for: what a channel with the serialization `advanced`
/// carries beyond it (V8's structured clone).
///
/// ```
/// use cluster_proto::{Object, StructuredClone, Value, ViewKind};
///
/// let message = Value::from(Object::new()
///     .with("image", Value::buffer(vec![0x89, 0x50, 0x4e, 0x47]))
///     .with("made", StructuredClone::Date(1_700_000_000_000.0))
///     .with("tags", StructuredClone::Set(vec!["a".into(), "b".into()])));
/// assert_eq!(message["image"].as_bytes(), Some(&[0x89, 0x50, 0x4e, 0x47][..]));
/// assert!(matches!(message["made"].as_structured_clone(), Some(StructuredClone::Date(_))));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StructuredClone {
    /// `undefined`.
    Undefined,
    /// A `bigint`.
    BigInt(BigInt),
    /// A string that holds half of a surrogate pair, in UTF-16: UTF-8 cannot hold it. (As the name
    /// of a member one arrives with U+FFFD in its place.)
    Utf16(Vec<u16>),
    /// A `Date`, in milliseconds since 1970; NaN is an invalid one.
    Date(f64),
    /// A `RegExp`.
    RegExp {
        /// What stands between the slashes.
        source: String,
        /// What stands behind them, `gi` say.
        flags: String,
    },
    /// A `Number`, `Boolean`, `String` or `BigInt` object around that value, as `Object(1)` makes it.
    Boxed(Box<Value>),
    /// A `Map`, in its order.
    Map(Vec<(Value, Value)>),
    /// A `Set`, in its order.
    Set(Vec<Value>),
    /// An `Error`.
    Error(Box<ErrorValue>),
    /// An `ArrayBuffer`.
    ArrayBuffer {
        /// What it holds.
        bytes: Vec<u8>,
        /// The `maxByteLength` of one that can be resized.
        max_length: Option<u32>,
    },
    /// A `Buffer`, a typed array or a `DataView`, with what it shows of its buffer.
    View {
        /// Which of them.
        kind: ViewKind,
        /// What it shows, numbers in the byte order of the machine that sent it.
        bytes: Vec<u8>,
    },
    /// An array with holes, or with members that have names.
    Array {
        /// The array's `length`.
        length: u32,
        /// The elements that there are, by their index, ascending.
        elements: Vec<(u32, Value)>,
        /// Members with names.
        members: Object,
    },
    /// An object that stands earlier in the message, once more: the same object, not its like, which
    /// is how a value can hold itself. The number says how many objects back from here it begins,
    /// 1 being the one that began last. Objects are [`Value::Object`], [`Value::Array`], and here
    /// all from [`Date`](Self::Date) to [`Array`](Self::Array).
    Back(u32),
}

/// A whole number of any size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigInt {
    negative: bool,
    /// Least significant first, the last one not 0.
    words: Vec<u64>,
}

impl BigInt {
    /// That number: its sign, and 64 bits a word, the least significant first.
    pub fn new(negative: bool, mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { negative: negative && !words.is_empty(), words }
    }

    /// Whether it is below 0.
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// Its absolute value, 64 bits a word, the least significant first; none for 0.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The number, if it fits.
    pub fn as_i128(&self) -> Option<i128> {
        let magnitude = match *self.words {
            [] => 0,
            [low] => u128::from(low),
            [low, high] => u128::from(high) << 64 | u128::from(low),
            _ => return None,
        };
        if self.negative {
            0i128.checked_sub_unsigned(magnitude)
        } else {
            magnitude.try_into().ok()
        }
    }
}

impl From<i128> for BigInt {
    fn from(n: i128) -> Self {
        let magnitude = n.unsigned_abs();
        Self::new(n < 0, alloc::vec![magnitude as u64, (magnitude >> 64) as u64])
    }
}

impl From<i64> for BigInt {
    fn from(n: i64) -> Self {
        i128::from(n).into()
    }
}

impl From<u64> for BigInt {
    fn from(n: u64) -> Self {
        Self::new(false, alloc::vec![n])
    }
}

/// An `Error`, as far as a structured clone keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorValue {
    /// Its class.
    pub class: ErrorClass,
    /// Its `message`, if it has one.
    pub message: Option<Value>,
    /// Its `stack`, if it has one.
    pub stack: Option<Value>,
    /// Its `cause`, if it has one.
    pub cause: Option<Value>,
}

impl ErrorValue {
    /// A plain `Error` with that message.
    pub fn new(message: impl Into<Value>) -> Self {
        Self { message: Some(message.into()), ..Self::default() }
    }
}

/// The classes of errors that a structured clone keeps apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorClass {
    /// `Error`, and all others.
    #[default]
    Error,
    /// `EvalError`
    EvalError,
    /// `RangeError`
    RangeError,
    /// `ReferenceError`
    ReferenceError,
    /// `SyntaxError`
    SyntaxError,
    /// `TypeError`
    TypeError,
    /// `URIError`
    UriError,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Error,
        Self::EvalError,
        Self::RangeError,
        Self::ReferenceError,
        Self::SyntaxError,
        Self::TypeError,
        Self::UriError,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "Error",
            Self::EvalError => "EvalError",
            Self::RangeError => "RangeError",
            Self::ReferenceError => "ReferenceError",
            Self::SyntaxError => "SyntaxError",
            Self::TypeError => "TypeError",
            Self::UriError => "URIError",
        }
    }
}

macro_rules! view_kinds {
    ($($(#[$doc:meta])* $kind:ident = $index:literal, $name:literal, $size:literal;)*) => {
        /// What shows the bytes of an `ArrayBuffer`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ViewKind {
            $($(#[$doc])* $kind,)*
        }

        impl ViewKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The class's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// How many bytes an element has.
            pub const fn element_size(self) -> usize {
                match self { $(Self::$kind => $size),* }
            }

            /// Node's number of it on the wire.
            #[cfg(feature = "advanced")]
            pub(crate) const fn index(self) -> u32 {
                match self { $(Self::$kind => $index),* }
            }
        }
    };
}

view_kinds! {
    /// `Int8Array`
    Int8Array = 0, "Int8Array", 1;
    /// `Uint8Array`
    Uint8Array = 1, "Uint8Array", 1;
    /// `Uint8ClampedArray`
    Uint8ClampedArray = 2, "Uint8ClampedArray", 1;
    /// `Int16Array`
    Int16Array = 3, "Int16Array", 2;
    /// `Uint16Array`
    Uint16Array = 4, "Uint16Array", 2;
    /// `Int32Array`
    Int32Array = 5, "Int32Array", 4;
    /// `Uint32Array`
    Uint32Array = 6, "Uint32Array", 4;
    /// `Float32Array`
    Float32Array = 7, "Float32Array", 4;
    /// `Float64Array`
    Float64Array = 8, "Float64Array", 8;
    /// `DataView`
    DataView = 9, "DataView", 1;
    /// Node's `Buffer`
    Buffer = 10, "Buffer", 1;
    /// `BigInt64Array`
    BigInt64Array = 11, "BigInt64Array", 8;
    /// `BigUint64Array`
    BigUint64Array = 12, "BigUint64Array", 8;
    /// `Float16Array`, from Node 24 on
    Float16Array = 13, "Float16Array", 2;
}

impl StructuredClone {
    /// The name of its class or type, in JavaScript's terms.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Undefined => "undefined",
            Self::BigInt(_) => "BigInt",
            Self::Utf16(_) => "String",
            Self::Date(_) => "Date",
            Self::RegExp { .. } => "RegExp",
            Self::Boxed(_) => "Object",
            Self::Map(_) => "Map",
            Self::Set(_) => "Set",
            Self::Error(error) => error.class.name(),
            Self::ArrayBuffer { .. } => "ArrayBuffer",
            Self::View { kind, .. } => kind.name(),
            Self::Array { .. } => "Array",
            Self::Back(_) => "reference",
        }
    }

    /// The values that it holds, in the order in which they are written.
    pub fn parts(&self) -> impl Iterator<Item = &Value> {
        let (mut boxed, mut pairs, mut items, mut error) = (None, None, None, None);
        let mut array = None;
        match self {
            Self::Boxed(value) => boxed = Some(&**value),
            Self::Map(entries) => pairs = Some(entries.iter().flat_map(|(k, v)| [k, v])),
            Self::Set(values) => items = Some(values.iter()),
            Self::Error(value) => {
                error = Some([&value.message, &value.stack, &value.cause].into_iter().flatten());
            }
            Self::Array { elements, members, .. } => {
                let members = members.iter().map(|(_, value)| value);
                array = Some(elements.iter().map(|(_, value)| value).chain(members));
            }
            _ => {}
        }
        let (pairs, items) = (pairs.into_iter().flatten(), items.into_iter().flatten());
        let (error, array) = (error.into_iter().flatten(), array.into_iter().flatten());
        boxed.into_iter().chain(pairs).chain(items).chain(error).chain(array)
    }

    /// Whether it is an object to which another part of the value may refer.
    fn is_object(&self) -> bool {
        match self {
            Self::Undefined | Self::BigInt(_) | Self::Utf16(_) | Self::Back(_) => false,
            Self::Date(_)
            | Self::RegExp { .. }
            | Self::Boxed(_)
            | Self::Map(_)
            | Self::Set(_)
            | Self::Error(_)
            | Self::ArrayBuffer { .. }
            | Self::View { .. }
            | Self::Array { .. } => true,
        }
    }

    /// As [`Value::refers_within`].
    pub(crate) fn refers_within(&self, objects: &mut u32) -> bool {
        if let Self::Back(distance) = self {
            return (1..=*objects).contains(distance);
        }
        // What a boxed value holds is part of its object.
        *objects += u32::from(self.is_object());
        self.parts().all(|part| part.refers_within(objects))
    }

    /// Whether JavaScript would take it for true in a condition.
    pub(crate) fn is_truthy(&self) -> bool {
        match self {
            Self::Undefined => false,
            Self::BigInt(n) => !n.words.is_empty(),
            _ => true,
        }
    }

    /// As for a value.
    #[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
    pub(crate) fn nests_within(&self, levels: usize) -> bool {
        match self {
            Self::Map(_) | Self::Set(_) | Self::Error(_) | Self::Array { .. } => {
                levels > 0 && self.parts().all(|part| part.nests_within(levels - 1))
            }
            _ => self.parts().all(|part| part.nests_within(levels)),
        }
    }
}

impl From<StructuredClone> for Value {
    fn from(rich: StructuredClone) -> Value {
        Value::StructuredClone(Box::new(rich))
    }
}

impl From<BigInt> for Value {
    fn from(n: BigInt) -> Value {
        StructuredClone::BigInt(n).into()
    }
}

impl From<ErrorValue> for Value {
    fn from(error: ErrorValue) -> Value {
        StructuredClone::Error(Box::new(error)).into()
    }
}

impl Value {
    /// `undefined`.
    pub fn undefined() -> Value {
        StructuredClone::Undefined.into()
    }

    /// A `Buffer` with those bytes.
    pub fn buffer(bytes: impl Into<Vec<u8>>) -> Value {
        StructuredClone::View { kind: ViewKind::Buffer, bytes: bytes.into() }.into()
    }

    /// What JSON cannot say, if it is that.
    pub fn as_structured_clone(&self) -> Option<&StructuredClone> {
        match self {
            Self::StructuredClone(rich) => Some(rich),
            _ => None,
        }
    }

    /// Whether this is `undefined`.
    pub fn is_undefined(&self) -> bool {
        matches!(self.as_structured_clone(), Some(StructuredClone::Undefined))
    }

    /// The bytes, if it is a `Buffer`, a typed array, a `DataView` or an `ArrayBuffer`.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self.as_structured_clone()? {
            StructuredClone::View { bytes, .. } | StructuredClone::ArrayBuffer { bytes, .. } => {
                Some(bytes)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn big_numbers_have_one_form_each() {
        assert_eq!(BigInt::new(true, vec![0, 0]), BigInt::default(), "there is no -0n");
        for n in [0, 1, -1, i128::from(u64::MAX) + 1, i128::MAX, i128::MIN] {
            assert_eq!(BigInt::from(n).as_i128(), Some(n));
        }
        assert_eq!(BigInt::new(false, vec![0, 0, 1]).as_i128(), None);
        assert_eq!(BigInt::new(false, vec![0, 1 << 63]).as_i128(), None);
    }

    #[test]
    fn truth_is_javascripts() {
        assert!(!Value::undefined().is_truthy());
        assert!(!Value::from(BigInt::from(0i64)).is_truthy());
        assert!(Value::from(BigInt::from(-1i64)).is_truthy());
        assert!(Value::from(StructuredClone::Boxed(Box::new(false.into()))).is_truthy());
    }
}
