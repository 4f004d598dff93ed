//! Numbers as they stand in reports, lines and pages.

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// A number with at most two decimals.
pub fn decimal(number: f64) -> String {
    ((number * 100.0).round() / 100.0).to_string()
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with three digits and a decimal prefix.
pub fn scaled(number: f64) -> String {
    const PREFIXES: [(f64, &str); 7] =
        [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")];
    let (size, prefix) =
        PREFIXES.into_iter().find(|(size, _)| number >= *size).unwrap_or((1.0, ""));
    let value = number / size;
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}{prefix}")
}

/// Bytes with a binary prefix.
pub fn bytes(count: u64) -> String {
    const PREFIXES: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match PREFIXES.into_iter().find(|(size, _)| count >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", count as f64 / size as f64),
        None => format!("{count} B"),
    }
}

/// `18h42`, `7m05`, `12s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s:02}"),
        (h, m, _) => format!("{h}h{m:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let check = |seconds, text: &str| assert_eq!(duration(seconds), text);
        check(12.4, "12s");
        check(425.0, "7m05");
        check(67_329.0, "18h42");
    }

    #[test]
    fn counts_are_read_at_a_glance() {
        assert_eq!([0, 999, 1_234_567].map(grouped), ["0", "999", "1,234,567"]);
        assert_eq!([12.0, 4.0 / 3.0].map(decimal), ["12", "1.33"]);
        assert_eq!([3.0, 12_340.0, 5.67e15].map(scaled), ["3.00", "12.3k", "5.67P"]);
        assert_eq!([7, 1536, 5 << 30].map(bytes), ["7 B", "1.5 KiB", "5.0 GiB"]);
    }
}
