//! Sizes, ages and counts as people read them.

use crate::domain::text::instant::Instant;

/// Bytes in decimal units, as the AWS console shows image sizes: `512 B`, `1.5 MB`, `120 GB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be shown as 1000 is shown in the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if value < 9.95 { format!("{value:.1} {name}") } else { format!("{value:.0} {name}") }
}

/// An amount of US dollars: `$1,204.50`.
#[must_use]
pub fn dollars(amount: f64) -> String {
    let text = format!("{amount:.2}");
    let (whole, cents) = text.split_once('.').unwrap_or((&text, "00"));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    format!("${whole}.{cents}")
}

/// The age of something in one number: `5 h`, `31 d`.
#[must_use]
pub fn age(now: Instant, then: Instant) -> String {
    match now.days_since(then) {
        ..0 => "0 h".to_owned(),
        0 => format!("{} h", (now.micros() - then.micros()) / 3_600_000_000),
        days => format!("{days} d"),
    }
}

/// A count with its noun: `1 image`, `1,204 images`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with a noun that has an irregular plural: `1 index`, `3 indexes`.
#[must_use]
pub fn count_of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// A number with its thousands set apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    if number < 1000 {
        number.to_string()
    } else {
        format!("{},{:03}", grouped(number / 1000), number % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_or_three_digits() {
        for (size, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn dollars_have_cents() {
        assert_eq!(dollars(0.0), "$0.00");
        assert_eq!(dollars(1204.5), "$1,204.50");
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!(count(1, "image"), "1 image");
        assert_eq!(count(1_234_567, "image"), "1,234,567 images");
    }
}
