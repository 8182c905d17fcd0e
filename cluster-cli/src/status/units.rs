//! Numbers as people read them: short, and never wider than six characters.

/// A time: `80ms`, `1.2s`, `59s`, `3m12s`, `5h03m`, `12d04h`, `123d`.
pub(crate) fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..10_000 => format!("{seconds}.{}s", ms % 1000 / 100),
        10_000..60_000 => format!("{seconds}s"),
        _ if hours == 0 => format!("{minutes}m{:02}s", seconds % 60),
        _ if days == 0 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 100 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// A size: `512B`, `47.7M`, `1.2G`; by 1024.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, &["B", "K", "M", "G", "T", "P", "E"])
}

/// A count: up to five digits as it is, then `123k`, `1.2M`.
pub(crate) fn count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        _ => scaled(count as f64, 1000.0, &["", "k", "M", "G", "T", "P", "E"]),
    }
}

/// A count per second.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        ..=0.0 => "0".into(),
        ..9.95 => format!("{per_second:.1}"),
        _ => count(per_second.round() as u64),
    }
}

/// Microseconds: `130µs`, `1.3ms`, `13ms`, `2.1s`.
pub(crate) fn latency(us: f64) -> String {
    if us.round() < 1000.0 {
        return format!("{us:.0}µs");
    }
    let ms = us / 1000.0;
    match ms {
        ..9.95 => format!("{ms:.1}ms"),
        ..999.5 => format!("{ms:.0}ms"),
        _ => time(ms as u64),
    }
}

/// A share of one processor: `0.4%`, `12%`, `230%`.
pub(crate) fn percent(percent: f64) -> String {
    if percent < 9.95 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

/// `many(1, "slot")` is `1 slot`, `many(2, "slot")` `2 slots`.
pub(crate) fn many(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// All digits of a count, in groups of three.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What is known, or a dash.
pub(crate) fn or_dash<T>(value: Option<T>, write: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "–".into(), write)
}

fn scaled(mut value: f64, base: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // What would be rounded to four digits belongs to the next unit.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let places = usize::from(unit > 0 && value < 99.95);
    format!("{value:.places$}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let cases = [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (9_999, "9.9s"),
            (59_999, "59s"),
            (60_000, "1m00s"),
            (3_599_999, "59m59s"),
            (3_600_000, "1h00m"),
            (86_399_999, "23h59m"),
            (86_400_000, "1d00h"),
            (8_639_999_999, "99d23h"),
            (8_640_000_000, "100d"),
        ];
        for (ms, text) in cases {
            assert_eq!(time(ms), text);
        }
    }

    #[test]
    fn sizes() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.0K"),
            (50_000_000, "47.7M"),
            (104_800_000, "99.9M"),
            (104_857_600, "100M"),
            (1_047_527_424, "999M"),
            (1_050_000_000, "1.0G"),
            (u64::MAX, "16.0E"),
        ];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn counts_and_rates() {
        let cases =
            [(0, "0"), (99_999, "99999"), (100_000, "100k"), (999_499, "999k"), (999_500, "1.0M")];
        for (number, text) in cases {
            assert_eq!(count(number), text);
        }
        let cases = [(0.0, "0"), (-1.0, "0"), (0.25, "0.2"), (9.96, "10"), (1234.4, "1234")];
        for (number, text) in cases {
            assert_eq!(rate(number), text);
        }
        assert_eq!((grouped(0), grouped(999)), ("0".into(), "999".into()));
        assert_eq!((grouped(1_000), grouped(31_204)), ("1,000".into(), "31,204".into()));
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(
            (many(1, "death"), many(2_000, "death")),
            ("1 death".into(), "2,000 deaths".into())
        );
    }

    #[test]
    fn latencies_and_shares() {
        let cases = [
            (0.4, "0µs"),
            (130.0, "130µs"),
            (999.4, "999µs"),
            (999.6, "1.0ms"),
            (9_949.0, "9.9ms"),
            (9_951.0, "10ms"),
            (999_400.0, "999ms"),
            (999_600.0, "999ms"),
            (2_100_000.0, "2.1s"),
        ];
        for (us, text) in cases {
            assert_eq!(latency(us), text);
        }
        assert_eq!([percent(0.0), percent(9.94), percent(9.96)], ["0.0%", "9.9%", "10%"]);
    }

    #[test]
    fn nothing_is_wider_than_six() {
        for power in 0..64 {
            for number in [1u64 << power, (1u64 << power) - 1] {
                let all = [
                    time(number),
                    bytes(number),
                    count(number),
                    rate(number as f64),
                    latency(number as f64),
                ];
                // A time of a million days may be wider.
                let late = number > 99_999 * 86_400_000;
                for text in all {
                    assert!(late || text.chars().count() <= 6, "{number}: {text}");
                }
            }
        }
    }
}
