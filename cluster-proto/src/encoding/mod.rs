//! Values as bytes. A [codec](crate::Codec) makes whole messages of them.

#[cfg(feature = "advanced")]
pub(crate) mod advanced;
#[cfg(feature = "json")]
pub(crate) mod json;
pub(crate) mod part;
#[cfg(feature = "postcard")]
pub(crate) mod postcard;
