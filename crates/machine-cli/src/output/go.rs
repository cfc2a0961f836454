//! Texts in the form in which Go's `fmt` writes them.

use std::fmt::Write as _;
use std::time::Duration;

/// A text in quotes, as Go's `%q`.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A time as Go's `time.Duration` prints it: `1m30s`, `1.5s`, `12ms`, `0s`. Down to milliseconds.
pub fn duration(time: Duration) -> String {
    let ms = time.as_millis();
    if ms < 1000 {
        return if ms == 0 { "0s".to_owned() } else { format!("{ms}ms") };
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let mut out = String::new();
    if hours > 0 {
        let _ = write!(out, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(out, "{minutes}m");
    }
    let (seconds, rest) = (ms / 1000 % 60, ms % 1000);
    let _ = if rest == 0 {
        write!(out, "{seconds}s")
    } else {
        write!(out, "{seconds}.{}s", format!("{rest:03}").trim_end_matches('0'))
    };
    out
}

/// Reads what [`duration`] writes, in nanoseconds. `None` for any other text.
pub fn duration_nanos(text: &str) -> Option<i64> {
    let mut nanos = 0_i64;
    let mut left = text;
    while !left.is_empty() {
        let end = left.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let (number, rest) = left.split_at(end);
        let (unit, rest) =
            ["ms", "h", "m", "s"].iter().find_map(|u| rest.strip_prefix(u).map(|r| (*u, r)))?;
        let scale: i64 = match unit {
            "h" => 3_600_000_000_000,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            _ => 1_000_000,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        nanos = nanos.checked_add(whole.parse::<i64>().ok()?.checked_mul(scale)?)?;
        for (at, digit) in fraction.chars().enumerate().take(9) {
            nanos += i64::from(digit.to_digit(10)?) * scale / 10_i64.pow(u32::try_from(at).ok()? + 1);
        }
        left = rest;
    }
    (!text.is_empty()).then_some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s_and_are_read_again() {
        for (ms, text) in [
            (0, "0s"),
            (12, "12ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (61_020, "1m1.02s"),
            (3_600_000, "1h0m0s"),
            (10_000, "10s"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
            assert_eq!(duration_nanos(text), Some(i64::try_from(ms).unwrap() * 1_000_000), "{text}");
        }
        for text in ["", "ms", "5", "five", "5x", "9999999999999999h"] {
            assert_eq!(duration_nanos(text), None, "{text}");
        }
    }

    #[test]
    fn quotes_are_go_s() {
        assert_eq!(quote("a \"b\"\\\n\u{1}é"), r#""a \"b\"\\\n\x01é""#);
    }
}
