//! The bytes that say what follows.

pub(super) const VERSION: u8 = 0xff;
pub(super) const PADDING: u8 = 0;
pub(super) const OBJECT_COUNT: u8 = b'?';
pub(super) const HOLE: u8 = b'-';
pub(super) const UNDEFINED: u8 = b'_';
pub(super) const NULL: u8 = b'0';
pub(super) const TRUE: u8 = b'T';
pub(super) const FALSE: u8 = b'F';
pub(super) const INT32: u8 = b'I';
pub(super) const UINT32: u8 = b'U';
pub(super) const DOUBLE: u8 = b'N';
pub(super) const BIG_INT: u8 = b'Z';
pub(super) const UTF8_STRING: u8 = b'S';
pub(super) const ONE_BYTE_STRING: u8 = b'"';
pub(super) const TWO_BYTE_STRING: u8 = b'c';
pub(super) const REFERENCE: u8 = b'^';
pub(super) const OBJECT: u8 = b'o';
pub(super) const END_OBJECT: u8 = b'{';
pub(super) const SPARSE_ARRAY: u8 = b'a';
pub(super) const END_SPARSE_ARRAY: u8 = b'@';
pub(super) const DENSE_ARRAY: u8 = b'A';
pub(super) const END_DENSE_ARRAY: u8 = b'$';
pub(super) const DATE: u8 = b'D';
pub(super) const TRUE_OBJECT: u8 = b'y';
pub(super) const FALSE_OBJECT: u8 = b'x';
pub(super) const NUMBER_OBJECT: u8 = b'n';
pub(super) const BIG_INT_OBJECT: u8 = b'z';
pub(super) const STRING_OBJECT: u8 = b's';
pub(super) const REG_EXP: u8 = b'R';
pub(super) const MAP: u8 = b';';
pub(super) const END_MAP: u8 = b':';
pub(super) const SET: u8 = b'\'';
pub(super) const END_SET: u8 = b',';
pub(super) const ARRAY_BUFFER: u8 = b'B';
pub(super) const RESIZABLE_ARRAY_BUFFER: u8 = b'~';
pub(super) const ARRAY_BUFFER_VIEW: u8 = b'V';
pub(super) const ERROR: u8 = b'r';
pub(super) const HOST_OBJECT: u8 = b'\\';

/// Within an error.
pub(super) mod error {
    use crate::structured_clone::ErrorClass;

    pub(in super::super) const MESSAGE: u8 = b'm';
    pub(in super::super) const CAUSE: u8 = b'c';
    pub(in super::super) const STACK: u8 = b's';
    pub(in super::super) const END: u8 = b'.';

    /// The tag of a class; `Error` itself has none.
    pub(in super::super) const CLASSES: [(u8, ErrorClass); 6] = [
        (b'E', ErrorClass::EvalError),
        (b'R', ErrorClass::RangeError),
        (b'F', ErrorClass::ReferenceError),
        (b'S', ErrorClass::SyntaxError),
        (b'T', ErrorClass::TypeError),
        (b'U', ErrorClass::UriError),
    ];
}

/// Behind [`HOST_OBJECT`], where Node takes over: a view follows, or the copy of something else as a
/// plain object.
pub(super) const HOST_VIEW: u32 = 0;
pub(super) const HOST_PLAIN: u32 = 1;

/// The flags of a `RegExp`: the letter, and its bit.
pub(super) const REG_EXP_FLAGS: [(char, u32); 9] = [
    ('d', 1 << 7),
    ('g', 1 << 0),
    ('i', 1 << 1),
    ('l', 1 << 6),
    ('m', 1 << 2),
    ('s', 1 << 5),
    ('u', 1 << 4),
    ('v', 1 << 8),
    ('y', 1 << 3),
];

/// What V8 gives the views of version 14 and later of its own.
pub(super) const VIEWS: [(u8, crate::structured_clone::ViewKind); 13] = {
    use crate::structured_clone::ViewKind as Kind;
    [
        (b'b', Kind::Int8Array),
        (b'B', Kind::Uint8Array),
        (b'C', Kind::Uint8ClampedArray),
        (b'w', Kind::Int16Array),
        (b'W', Kind::Uint16Array),
        (b'd', Kind::Int32Array),
        (b'D', Kind::Uint32Array),
        (b'f', Kind::Float32Array),
        (b'F', Kind::Float64Array),
        (b'q', Kind::BigInt64Array),
        (b'Q', Kind::BigUint64Array),
        (b'h', Kind::Float16Array),
        (b'?', Kind::DataView),
    ]
};
