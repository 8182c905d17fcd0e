//! How values that are in force are written, so that they are read as the same.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use cluster_primary::PolicyName;
use serde::ser::Serializer;

use super::choice::{Choice, name_of};
use super::count::Count;
use super::period::Period;
use super::size::Size;

pub(super) fn as_text<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Of what is left out where there is none.
pub(super) fn some<T: Display, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

pub(super) fn list<T: Display, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(ToString::to_string))
}

/// A list of numbers, without quotes.
pub(super) fn numbers<const LEAST: u64, const MOST: u64, S: Serializer>(
    values: &[Count<LEAST, MOST>],
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(|count| count.0))
}

/// What is not UTF-8 cannot be said in TOML.
pub(super) fn texts<S: Serializer>(texts: &[OsString], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(texts.iter().map(|text| text.to_string_lossy()))
}

pub(super) fn path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    some(&path.as_ref().map(|path| path.display()), to)
}

pub(super) fn choice<T: Choice, S: Serializer>(chosen: &T, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(name_of(*chosen))
}

pub(super) fn choices<S: Serializer>(
    chosen: &Option<PolicyName>,
    to: S,
) -> Result<S::Ok, S::Error> {
    some(&chosen.map(name_of), to)
}

pub(super) fn period<S: Serializer>(period: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&Period::<0>(*period))
}

pub(super) fn periods<S: Serializer>(period: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    some(&period.map(Period::<0>), to)
}

/// A duration that is 0 for never.
pub(super) fn never<S: Serializer>(period: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    self::period(&period.unwrap_or_default(), to)
}

pub(super) fn size<S: Serializer>(size: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
    some(&size.map(Size), to)
}
