//! Numbers with a unit: `1.5h`, `512M`.

/// A number, and the unit after it, which may be none.
pub(super) fn split(text: &str) -> (&str, &str) {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(unit)
}

/// So many times a unit, if that comes out whole: `1.5` times 1000 is 1500.
pub(super) fn times(number: &str, unit: u64) -> Option<u128> {
    let (whole, part) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, part)) => (whole, part.trim_end_matches('0')),
        None => (number, ""),
    };
    let unit = u128::from(unit);
    let mut sum = digits(whole)?.checked_mul(unit)?;
    if !part.is_empty() {
        let of = 10_u128.checked_pow(u32::try_from(part.len()).ok()?)?;
        let parts = digits(part)?.checked_mul(unit)?;
        if parts % of != 0 {
            return None;
        }
        sum = sum.checked_add(parts / of)?;
    }
    Some(sum)
}

/// Digits and nothing else: a sign or a `_` would be a number to the standard library.
fn digits(text: &str) -> Option<u128> {
    let all = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_whole_or_not_at_all() {
        assert_eq!(times("12", 1000), Some(12_000));
        assert_eq!(times("1.50", 1000), Some(1_500));
        assert_eq!(times("0.0001", 1000), None);
        assert_eq!(times("0.5", 1), None);
        for text in ["", ".", ".5", "5.", "1.2.3", "+1", "-1", "1_0", "٣"] {
            assert_eq!(times(text, 1000), None, "{text:?}");
        }
        assert_eq!(times(&"9".repeat(60), 1000), None);
        assert_eq!(times(&format!("0.{}1", "0".repeat(60)), 1000), None);
    }
}
