//! Durations and sizes in a service's file.

use std::time::Duration;

/// Least limit of a log in bytes. A smaller one is more likely a forgotten unit.
const LEAST_LOG_LIMIT: u64 = 4096;

/// Returns the duration that `text` names, such as `30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    crate::cli::duration(text).map_err(|problem| format!("is no duration: {problem}"))
}

/// Returns the bytes that `text` names: `10MB`, `512KiB`, `10000000`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
    let unit: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(format!("{text:?} is no size: the units are KB, MB, GB, KiB, MiB and GiB")),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is no size: a size is a whole number with a unit"));
    }
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
        None => Err(format!("{text:?} is more bytes than 64 bits can count")),
        Some(bytes) if bytes < LEAST_LOG_LIMIT => {
            Err(format!("is {bytes} bytes, the least is {LEAST_LOG_LIMIT}"))
        }
        Some(bytes) => Ok(bytes),
    }
}
