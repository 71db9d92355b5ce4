//! Moments as text: RFC 3339, in UTC.

use countersign_core::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// To the millisecond, always with three digits of it: for programs.
pub fn exact(at: Timestamp) -> String {
    const FORM: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000);
    text(moment.ok().and_then(|moment| moment.format(FORM).ok()))
}

/// To the second: for people.
pub fn brief(at: Timestamp) -> String {
    of_seconds(at.seconds())
}

/// A number of seconds since the Unix epoch, as text to the second.
pub fn of_seconds(seconds: u64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(seconds) * 1_000_000_000);
    text(moment.ok().and_then(|moment| moment.format(&Rfc3339).ok()))
}

/// Parses RFC 3339. `None` for another text, or a time before the Unix epoch.
pub fn parse(text: &str) -> Option<Timestamp> {
    let nanoseconds = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
    u64::try_from(nanoseconds / 1_000_000).ok().map(Timestamp)
}

/// Parses RFC 3339 into seconds since the Unix epoch. `None` for another text, or a time before.
pub fn parse_seconds(text: &str) -> Option<u64> {
    OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp().try_into().ok()
}

fn text(moment: Option<String>) -> String {
    moment.unwrap_or_else(|| "after the year 9999".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_rfc_3339_in_utc() {
        assert_eq!(exact(Timestamp(1_795_296_680_250)), "2026-11-21T21:31:20.250Z");
        assert_eq!(exact(Timestamp(1_795_296_680_000)), "2026-11-21T21:31:20.000Z");
        assert_eq!(exact(Timestamp(u64::MAX)), "after the year 9999");
        assert_eq!(brief(Timestamp(1_795_296_680_999)), "2026-11-21T21:31:20Z");
        assert_eq!(brief(Timestamp(u64::MAX)), "after the year 9999");
    }

    #[test]
    fn a_text_is_read_back_whatever_its_time_zone() {
        for text in ["2026-11-21T21:31:20Z", "2026-11-21T21:31:20.25Z", "2026-11-21T22:31:20+01:00"]
        {
            assert_eq!(parse_seconds(text), Some(1_795_296_680), "{text}");
            let milliseconds = if text.contains('.') { 250 } else { 0 };
            assert_eq!(parse(text), Some(Timestamp(1_795_296_680_000 + milliseconds)), "{text}");
        }
        for text in ["", "2026-11-21", "1969-12-31T23:59:59Z", "1795296680"] {
            assert_eq!((parse_seconds(text), parse(text)), (None, None), "{text}");
        }
    }
}
