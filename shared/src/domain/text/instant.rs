//! Points in time: microseconds since the Unix epoch in eight bytes, `Option` included. This module reads no clock; the caller
//! passes the present.

use std::fmt;
use std::num::NonZeroI64;

use jiff::Timestamp;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::text::finding::{quoted, shown_number};

/// Microseconds in a day, the only unit lifecycle policies count in (`countUnit: days`).
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A point in time with microsecond precision.
///
/// ECR reports times as epoch seconds with a fraction (JSON protocol, AWS CLI v1) or as ISO 8601 with an offset
/// (AWS CLI v2); both deserialize. It serializes as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    // Shifted by `OFFSET` so that no representable time is zero and `Option<Instant>` takes no extra space.
    NonZeroI64,
);

/// `jiff` bounds times to the years -9999 to 9999, far inside of ±2^60 microseconds; so the sum is never zero.
const OFFSET: i64 = 1 << 60;

impl Instant {
    /// The Unix epoch, 1970-01-01T00:00:00Z: before anything that this program knows of.
    pub const EPOCH: Self = Self(match NonZeroI64::new(OFFSET) {
        Some(epoch) => epoch,
        None => NonZeroI64::MIN,
    });

    /// The instant `micros` microseconds after (or, negative, before) the Unix epoch; `None` outside of what
    /// [`jiff::Timestamp`] can represent.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        Timestamp::from_microsecond(micros).ok()?;
        NonZeroI64::new(micros.checked_add(OFFSET)?).map(Self)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0.get() - OFFSET
    }

    /// The present, for the edges of the program (a command line, a handler).
    #[must_use]
    pub fn now() -> Self {
        Self::from(Timestamp::now())
    }

    /// The instant `days` days after this one; `None` past the year 9999.
    #[must_use]
    pub fn plus_days(self, days: u64) -> Option<Self> {
        let span = i64::try_from(days).ok()?.checked_mul(MICROS_PER_DAY)?;
        Self::from_micros(self.micros().checked_add(span)?)
    }

    /// Microseconds since the Unix epoch of the instant `days` days before this one, or the earliest number when
    /// there is no such instant: everything that happened is younger than that.
    #[must_use]
    pub fn micros_days_before(self, days: u64) -> i64 {
        i64::try_from(days)
            .ok()
            .and_then(|days| days.checked_mul(MICROS_PER_DAY))
            .and_then(|span| self.micros().checked_sub(span))
            .unwrap_or(i64::MIN)
    }

    /// Whole days from `earlier` to this instant, negative when `earlier` is in the future.
    #[must_use]
    pub fn days_since(self, earlier: Self) -> i64 {
        (self.micros() - earlier.micros()).div_euclid(MICROS_PER_DAY)
    }

    /// This instant as a [`jiff::Timestamp`].
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        // In range by construction; the fallback is unreachable and keeps the type free of panics.
        Timestamp::from_microsecond(self.micros()).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Parses ISO 8601 with an offset or `Z`, as AWS CLI v2 prints it.
    ///
    /// # Errors
    ///
    /// If the text is not such a time. The message shows an example.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        if let Some(instant) = Self::parse_usual(text) {
            return Ok(instant);
        }
        text.parse::<Timestamp>().map(Self::from).map_err(|_| InvalidTime(text.to_owned()))
    }

    /// Parses a time as nearly all listings have it, `2026-11-23T00:00:00Z` or with microseconds and an offset, which there are two of
    /// for each image; `None` for any other text, times of distant years among them.
    fn parse_usual(text: &str) -> Option<Self> {
        /// Days of a year before each month, and behind the last one.
        const DAYS_BEFORE: [i64; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
        let (head, rest) = text.as_bytes().split_first_chunk::<19>()?;
        let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', n0, n1, b':', s0, s1] = head
        else {
            return None;
        };
        let year = number(&[y0, y1, y2, y3]).filter(|year| (1970..9000).contains(year))?;
        let month = number(&[m0, m1]).filter(|month| (1..=12).contains(month))?;
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let place = usize::try_from(month).ok()?;
        let (before, end) = (DAYS_BEFORE.get(place - 1)?, DAYS_BEFORE.get(place)?);
        let day = number(&[d0, d1]).filter(|day| *day >= 1)?;
        if day > end - before + i64::from(is_leap && month == 2) {
            return None;
        }
        let hour = number(&[h0, h1]).filter(|hour| *hour < 24)?;
        let minute = number(&[n0, n1]).filter(|minute| *minute < 60)?;
        let second = number(&[s0, s1]).filter(|second| *second < 60)?;
        let (micros, zone) = match rest.split_first() {
            Some((b'.', rest)) => {
                let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
                let (digits, zone) = rest.split_at_checked(length)?;
                let missing = 6_u32.checked_sub(u32::try_from(length).ok().filter(|length| *length > 0)?)?;
                (number(digits)? * 10_i64.pow(missing), zone)
            }
            _ => (0, rest),
        };
        let offset_minutes = match *zone {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
                let hours = number(&[h0, h1]).filter(|hours| *hours < 24)?;
                let minutes = number(&[m0, m1]).filter(|minutes| *minutes < 60)?;
                (hours * 60 + minutes) * if sign == b'+' { 1 } else { -1 }
            }
            _ => return None,
        };
        // Leap days between 1970 and this year, and the one of this year.
        let leaps = |year: i64| year / 4 - year / 100 + year / 400;
        let leap_days = leaps(year - 1) - leaps(1969) + i64::from(is_leap && month > 2);
        let days = (year - 1970) * 365 + leap_days + before + day - 1;
        let minutes = (days * 24 + hour) * 60 + minute - offset_minutes;
        NonZeroI64::new((minutes * 60 + second) * 1_000_000 + micros + OFFSET).map(Self)
    }

    /// Reads `/Date(1709285400250)/`, milliseconds since the Unix epoch, as Windows PowerShell writes times.
    fn of_dot_net(text: &str) -> Option<Self> {
        let milliseconds = text.strip_prefix("/Date(")?.strip_suffix(")/")?;
        // An offset behind it is for showing only.
        let (milliseconds, _) = milliseconds
            .split_at(milliseconds.rfind(['+', '-']).filter(|at| *at > 0).unwrap_or(milliseconds.len()));
        Self::from_micros(milliseconds.parse::<i64>().ok()?.checked_mul(1000)?)
    }

    /// Parses a time of a command line: ISO 8601 with an offset, a day (its beginning in UTC), `now`, or epoch seconds as `date
    /// +%s` prints them.
    ///
    /// # Errors
    ///
    /// If the text is not such a time. The message shows an example.
    pub fn parse_argument(text: &str, now: Self) -> Result<Self, InvalidTime> {
        let text = text.trim();
        if text == "now" {
            return Ok(now);
        }
        let seconds = text.strip_prefix('@').unwrap_or(text);
        // Fewer digits are a year, more are milliseconds.
        if (9..=10).contains(&seconds.len())
            && let Ok(seconds) = seconds.parse::<i64>()
        {
            return Self::from_micros(seconds.saturating_mul(1_000_000))
                .ok_or_else(|| InvalidTime(text.to_owned()));
        }
        Self::parse(text).or_else(|error| Self::parse(&format!("{text}T00:00:00Z")).map_err(|_| error))
    }

    fn from_epoch_seconds(seconds: f64) -> Option<Self> {
        let micros = (seconds * 1e6).round();
        // Beyond 2^53 a double no longer counts microseconds; no AWS time is there.
        if micros.abs() > 9_007_199_254_740_992.0 {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the check above")]
        Self::from_micros(micros as i64)
    }
}

/// A number of decimal digits; `None` if there is another character among them.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + i64::from(digit))
    })
}

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a time; write it like 2026-11-23T00:00:00Z, with an offset or Z", quoted(.0))]
pub struct InvalidTime(String);

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        Self(NonZeroI64::new(timestamp.as_microsecond().saturating_add(OFFSET)).unwrap_or(NonZeroI64::MIN))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Instant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InstantVisitor;

        impl Visitor<'_> for InstantVisitor {
            type Value = Instant;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time: epoch seconds, or ISO 8601 with an offset")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Instant, E> {
                Instant::parse(text)
                    .or_else(|error| Instant::of_dot_net(text).ok_or(error))
                    .map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Instant, E> {
                i64::try_from(seconds)
                    .map_err(|_| E::custom(format_args!("the time {seconds} is out of range")))
                    .and_then(|seconds| self.visit_i64(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Instant, E> {
                seconds.checked_mul(1_000_000).and_then(Instant::from_micros).ok_or_else(|| {
                    E::custom(format_args!("the time {seconds} is out of range; times are epoch seconds"))
                })
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Instant, E> {
                Instant::from_epoch_seconds(seconds).ok_or_else(|| {
                    let shown = shown_number(seconds);
                    E::custom(format_args!("the time {shown} is out of range; times are epoch seconds"))
                })
            }
        }

        deserializer.deserialize_any(InstantVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Instant, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn both_spellings_of_the_aws_cli_are_the_same_time() {
        let iso = read(r#""2024-03-01T10:30:00.250000+01:00""#).unwrap();
        let epoch = read("1709285400.25").unwrap();
        assert_eq!(iso, epoch);
        assert_eq!(iso.to_string(), "2024-03-01T09:30:00.25Z");
    }

    #[test]
    fn times_of_other_programs_are_the_same_time() {
        let iso = read(r#""2024-03-01T09:30:00.25Z""#).unwrap();
        for json in [
            // PowerShell, and Python's json.dumps with default=str.
            r#""/Date(1709285400250)/""#,
            r#""/Date(1709285400250+0100)/""#,
            r#""2024-03-01 10:30:00.250000+01:00""#,
        ] {
            assert_eq!(read(json).unwrap(), iso, "{json}");
        }
    }

    #[test]
    fn a_time_on_a_command_line_may_be_a_day_or_what_date_prints() {
        let now = Instant::EPOCH;
        for (text, expected) in [
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("2026-11-23T01:00:00+01:00", "2026-11-23T00:00:00Z"),
            ("2026-11-23 01:00+01:00", "2026-11-23T00:00:00Z"),
            ("1795392000", "2026-11-23T00:00:00Z"),
            ("@1795392000", "2026-11-23T00:00:00Z"),
            ("now", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(Instant::parse_argument(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "2026", "tomorrow", "23.11.2026", "2026-11-23T00:00:00", "2026-13-01"] {
            assert!(Instant::parse_argument(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_listings_are_read_as_jiff_reads_them() {
        let mut days = Vec::new();
        for year in [1969, 1970, 1971, 1972, 1999, 2000, 2024, 2026, 2028, 2100, 2400, 8999, 9000] {
            for month in 0..14 {
                days.extend([0, 1, 28, 29, 30, 31, 32].map(|day| format!("{year:04}-{month:02}-{day:02}")));
            }
        }
        let clocks = ["00:00:00", "23:59:59", "12:34:56", "24:00:00", "12:60:00", "12:00:60", "12:0a:00"];
        let fractions = ["", ".5", ".25", ".123456", ".000001", ".1234567", "."];
        let zones = [
            "Z", "+00:00", "-00:00", "+05:30", "-11:59", "+23:59", "+24:00", "+01:60", "", "+01", "+0100",
            "z",
        ];
        let (mut read, mut usual) = (0, 0);
        for (number, day) in days.iter().enumerate() {
            for (other, clock) in clocks.iter().enumerate() {
                for zone in zones {
                    let fraction = fractions[(number + other) % fractions.len()];
                    let text = format!("{day}T{clock}{fraction}{zone}");
                    let jiff = text.parse::<Timestamp>().map(Instant::from).ok();
                    assert_eq!(Instant::parse(&text).ok(), jiff, "{text}");
                    read += usize::from(jiff.is_some());
                    usual += usize::from(Instant::parse_usual(&text).is_some());
                }
            }
        }
        // The others have years, offsets and fractions as no listing has them.
        assert!(usual > 5000 && read > usual, "{usual} of {read}");
    }

    #[test]
    fn an_optional_instant_takes_eight_bytes() {
        assert_eq!(size_of::<Option<Instant>>(), 8);
    }

    #[test]
    fn the_epoch_is_a_time_like_any_other() {
        assert_eq!(read("0").unwrap().to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(read("-1").unwrap().micros(), -1_000_000);
    }

    #[test]
    fn a_time_without_an_offset_is_refused_with_advice() {
        let error = read(r#""2024-03-01T10:30:00""#).unwrap_err().to_string();
        assert!(error.starts_with("`2024-03-01T10:30:00` is not a time; write it like"), "{error}");
    }

    #[test]
    fn times_out_of_range_are_errors() {
        for json in ["1e300", "99999999999999999", "-1e18", "18446744073709551615", "true", "null"] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn days_before_the_beginning_of_time_saturate() {
        let now = Instant::parse("2026-11-23T00:00:00Z").unwrap();
        assert_eq!(now.micros_days_before(u64::MAX), i64::MIN);
        assert_eq!(now.plus_days(u64::MAX), None);
        assert_eq!(now.plus_days(1).unwrap().days_since(now), 1);
    }
}
