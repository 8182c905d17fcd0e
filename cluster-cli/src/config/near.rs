//! What may have been meant.

/// The name that is most like what was written, if one is like enough.
pub(crate) fn nearest<'a>(
    written: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let written = written.to_lowercase().replace('_', "-");
    let distance = |name: &str| strsim::damerau_levenshtein(&written, name);
    // One slip in three letters, but not all of a short name.
    let slips = |name: &str| (name.len().max(written.len()) / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(distance, name)| *distance <= slips(name) && *distance < name.len())
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_through() {
        let names = ["workers", "max-failures", "uid", "gid", "json"];
        let nearest = |written| nearest(written, names);
        assert_eq!(nearest("worker"), Some("workers"));
        assert_eq!(nearest("wrokers"), Some("workers"));
        assert_eq!(nearest("max_failures"), Some("max-failures"));
        assert_eq!(nearest("maxFailures"), Some("max-failures"));
        assert_eq!(nearest("iud"), Some("uid"));
        assert_eq!(nearest("JSON"), Some("json"));
        for other in ["", "x", "instances", "something-else"] {
            assert_eq!(nearest(other), None, "{other:?}");
        }
    }
}
