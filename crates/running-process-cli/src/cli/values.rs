//! The values of arguments: numbers, durations, sizes.

use running_process::broker::protocol::MAX_FRAME_BYTES;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Returns the payload protocol that `text` names, decimal or hexadecimal.
pub(super) fn payload_protocol(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a payload protocol is a number, for example 61642 or 0xF0CA".to_owned())
}

/// Returns the duration that `text` names, longer than zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_none(text)? {
        Duration::ZERO => Err("the duration must be longer than 0s".to_owned()),
        duration => Ok(duration),
    }
}

/// Returns the duration that `text` names.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    /// A year, which every system's clock can add to the current time.
    const LONGEST: Duration = Duration::from_hours(365 * 24);
    match humantime::parse_duration(text) {
        Ok(duration) if duration > LONGEST => Err("the longest duration is 365 days".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) if text.parse::<u64>().is_ok() => Err(format!("a duration has a unit: write {text}s")),
        Err(error @ humantime::DurationError::UnknownUnit { .. }) => {
            Err(format!("{error}; examples are 300ms and 10s"))
        }
        Err(humantime::DurationError::NumberOverflow) => Err("the longest duration is 365 days".to_owned()),
        Err(_) => Err("a duration is a number with a unit, for example 300ms or 10s".to_owned()),
    }
}

/// Returns a parser of whole numbers in `range`.
pub(super) fn number<N: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static {
    move |text| {
        let (first, last) = (range.start(), range.end());
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| match *last {
            u64::MAX => format!("a whole number is needed, {first} or more"),
            last => format!("a whole number is needed, from {first} to {last}"),
        })
    }
}

/// Returns the size of a payload that `text` names, in bytes.
pub(super) fn payload_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err("a size is a number of bytes, for example 64, 16KiB or 1MiB".to_owned()),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "a size is a number of bytes, for example 64, 16KiB or 1MiB".to_owned())?;
    match number.checked_mul(unit) {
        Some(size) if size <= MAX_FRAME_BYTES => Ok(size),
        _ => Err(format!("a frame carries at most {MAX_FRAME_BYTES} bytes, envelope included")),
    }
}

/// A number of lines, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineCount(pub(crate) Option<usize>);

/// Returns the number of lines that `text` names: `20`, or `all`.
pub(super) fn line_count(text: &str) -> Result<LineCount, String> {
    match text {
        "all" => Ok(LineCount(None)),
        number => number
            .parse()
            .map(|number| LineCount(Some(number)))
            .map_err(|_| "a number of lines is for example 20, or all".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_decimal_or_hexadecimal() {
        assert_eq!(payload_protocol("0xF0CA"), Ok(0xF0CA));
        assert_eq!(payload_protocol("61642"), Ok(0xF0CA));
        for wrong in ["", "0x", "F0CA", "-1", "0x1_0000", "4294967296"] {
            assert!(payload_protocol(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_deadline_has_a_unit_and_is_not_zero() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert!(duration("0s").is_err());
        assert!(duration("fast").is_err());
        for wrong in ["-1s", "", "s", "1,5s"] {
            let told = "a duration is a number with a unit, for example 300ms or 10s";
            assert_eq!(duration(wrong), Err(told.to_owned()), "{wrong}");
        }
        assert_eq!(duration("5"), Err("a duration has a unit: write 5s".to_owned()));
        assert!(duration("366days").is_err());
        assert_eq!(duration_or_none("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_number_is_within_its_range() {
        let few = number::<u32>(1..=10);
        assert_eq!((few("1"), few("10")), (Ok(1), Ok(10)));
        for wrong in ["", "0", "11", "-1", "1.5", "ten", "18446744073709551616"] {
            assert_eq!(few(wrong), Err("a whole number is needed, from 1 to 10".to_owned()), "{wrong}");
        }
        let many = number::<u64>(1..=u64::MAX);
        assert_eq!(many("18446744073709551615"), Ok(u64::MAX));
        for wrong in ["0", "-1", "18446744073709551616"] {
            assert_eq!(many(wrong), Err("a whole number is needed, 1 or more".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn a_number_of_lines_is_a_number_or_all() {
        assert_eq!(line_count("20"), Ok(LineCount(Some(20))));
        assert_eq!(line_count("all"), Ok(LineCount(None)));
        for wrong in ["", "-1", "ten", "1.5"] {
            assert!(line_count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_size_is_in_bytes_or_in_powers_of_two_and_fits_a_frame() {
        assert_eq!(payload_size("0"), Ok(0));
        assert_eq!(payload_size("64B"), Ok(64));
        assert_eq!(payload_size("3KiB"), Ok(3072));
        assert_eq!(payload_size("16MiB"), Ok(MAX_FRAME_BYTES));
        for wrong in
            ["", "KiB", "1 KiB", "1KB", "1k", "-1", "1.5MiB", "17MiB", "1GiB", "18446744073709551615MiB"]
        {
            assert!(payload_size(wrong).is_err(), "{wrong}");
        }
    }
}
