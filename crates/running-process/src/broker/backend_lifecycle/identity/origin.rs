//! The origin of a daemon: what distinguishes one run of it from every other.

use std::fmt;

/// Length of [`Origin::instance_id`], in bytes.
pub const INSTANCE_ID_BYTES: usize = 16;

/// The origin of a daemon's process: its start time, and an id that no other run repeats by chance.
///
/// It is public, like the rest of an identity. It is of use because the kernel can be asked for the same start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The time at which the kernel started the process, in the platform's own unit. Only equality within one boot has
    /// a meaning.
    ///
    /// # Platform-specific behavior
    ///
    /// Linux: clock ticks since boot, `starttime` of `proc_pid_stat(5)`. macOS and FreeBSD: microseconds since the Unix
    /// epoch; on FreeBSD it moves when the wall clock is set. Windows: the creation time of `GetProcessTimes`, in 100 nanoseconds since 1601.
    pub start_time: u64,
    /// A random id, made once per process.
    pub instance_id: [u8; INSTANCE_ID_BYTES],
    /// On Linux the inode of the process's `/proc/self/ns/pid`: the pid has a meaning only there. `None` elsewhere.
    pub pid_namespace: Option<u64>,
    /// Another process made the socket that the daemon listens on (`LISTEN_FDS`), so the kernel names that one as the
    /// listener.
    pub inherited_listener: bool,
}

impl Origin {
    /// Returns the origin if both of its mandatory fields are present.
    pub(super) fn from_known(
        start_time: Option<u64>,
        instance_id: Option<[u8; INSTANCE_ID_BYTES]>,
        pid_namespace: Option<u64>,
        inherited_listener: bool,
    ) -> Option<Self> {
        Some(Self { start_time: start_time?, instance_id: instance_id?, pid_namespace, inherited_listener })
    }

    /// Returns the instance id as 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn instance_digits(&self) -> String {
        let nibbles = self.instance_id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16)).collect()
    }
}

/// Formats a start time of the kernel for people: `9.50 s after boot`, or a time of day where the system's clock allows
/// that.
pub(crate) fn started(start_time: u64) -> impl fmt::Display {
    let unit = if cfg!(any(target_os = "linux", target_os = "android")) {
        Unit::TicksOfLinux
    } else if cfg!(windows) {
        Unit::HundredNanoseconds
    } else {
        Unit::Microseconds
    };
    StartTime(start_time, unit)
}

/// The unit in which a kernel tells start times.
#[derive(Clone, Copy)]
enum Unit {
    /// Since the boot.
    TicksOfLinux,
    /// Since 1601.
    HundredNanoseconds,
    /// Since 1970.
    Microseconds,
}

struct StartTime(u64, Unit);

impl fmt::Display for StartTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Unit::TicksOfLinux => {
                let (seconds, ticks) = (self.0 / TICKS_PER_SECOND, self.0 % TICKS_PER_SECOND);
                write!(formatter, "{seconds}.{ticks:02} s after boot")
            }
            Unit::HundredNanoseconds => write_utc(formatter, self.0 / 10_000, FROM_1601_TO_1970_DAYS),
            Unit::Microseconds => write_utc(formatter, self.0 / 1000, 0),
        }
    }
}

/// `USER_HZ`, in which `/proc` counts on every architecture that Rust supports.
const TICKS_PER_SECOND: u64 = 100;

const FROM_1601_TO_1970_DAYS: u64 = 134_774;

/// Writes a moment in UTC, given in milliseconds since a day that is `epoch_days` before 1970.
///
/// The calendar is Howard Hinnant's `civil_from_days`: a year begins in March, and 400 years have 146,097 days.
fn write_utc(formatter: &mut fmt::Formatter<'_>, milliseconds: u64, epoch_days: u64) -> fmt::Result {
    /// From 0000-03-01 to 1970-01-01.
    const TO_1970: u64 = 719_468;
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    let days = (seconds / 86_400 + TO_1970).saturating_sub(epoch_days);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (400 * era + year + month / 10, if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(formatter, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milliseconds:03} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(milliseconds: u64, epoch_days: u64) -> String {
        fmt::from_fn(|formatter| write_utc(formatter, milliseconds, epoch_days)).to_string()
    }

    #[test]
    fn a_start_time_is_told_with_its_unit() {
        let told = started(950).to_string();
        let linux = cfg!(any(target_os = "linux", target_os = "android"));
        assert_eq!(told == "9.50 s after boot", linux, "{told}");
        assert_eq!(told.ends_with(" UTC"), !linux, "{told}");
        let _no_overflow = started(u64::MAX).to_string();
    }

    #[test]
    fn each_system_s_unit_is_known() {
        let linux = StartTime(123_456, Unit::TicksOfLinux);
        assert_eq!(linux.to_string(), "1234.56 s after boot");
        let windows = StartTime(120_914_208_010_010_000, Unit::HundredNanoseconds);
        assert_eq!(windows.to_string(), "1984-03-01 00:00:01.001 UTC");
        let others = StartTime(825_597_296_789_999, Unit::Microseconds);
        assert_eq!(others.to_string(), "1996-02-29 12:34:56.789 UTC");
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        // Computed by `date --utc --date @SECONDS`.
        assert_eq!(utc(0, 0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(utc(825_597_296_789, 0), "1996-02-29 12:34:56.789 UTC");
        assert_eq!(utc(946_684_799_000, 0), "1999-12-31 23:59:59.000 UTC");
        // The last day of 400 years.
        assert_eq!(utc(13_574_563_200_000, 0), "2400-02-29 00:00:00.000 UTC");
        assert_eq!(utc(12_091_420_801_001, FROM_1601_TO_1970_DAYS), "1984-03-01 00:00:01.001 UTC");
        assert_eq!(utc(0, FROM_1601_TO_1970_DAYS), "1601-01-01 00:00:00.000 UTC");
    }
}
