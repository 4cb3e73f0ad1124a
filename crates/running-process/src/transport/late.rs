//! Reads after a deadline: bytes that arrived in time count, although they are read late.

use std::io;

/// Maximum number of reads in a row after a deadline has passed. Sixteen of 64 KiB empty a socket of the largest usual
/// buffer. A peer that always has one more byte ready gains no more than that.
pub(crate) const MAX_LATE_READS: u8 = 16;

/// A counter of reads after a deadline. A process that was stopped or asleep until then reads late what its peer sent
/// in time.
#[derive(Debug, Default)]
pub(crate) struct LateReads(u8);

impl LateReads {
    /// Returns `read`. If that has timed out, returns the result of `arrived` instead, which does not wait, unless the
    /// last [`MAX_LATE_READS`] reads were late.
    pub(crate) fn or<T>(
        &mut self,
        read: io::Result<T>,
        arrived: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        match read {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.read(arrived).unwrap_or(Err(error)),
            read => {
                self.0 = 0;
                read
            }
        }
    }

    /// Calls `arrived`, which does not wait, unless the last [`MAX_LATE_READS`] reads were late.
    pub(crate) fn read<T>(&mut self, arrived: impl FnOnce() -> io::Result<T>) -> Option<io::Result<T>> {
        let read = (self.0 < MAX_LATE_READS).then(arrived);
        self.0 = if matches!(read, Some(Ok(_))) { self.0 + 1 } else { 0 };
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::error::timed_out;

    #[test]
    fn so_many_late_reads_in_a_row_are_given_and_then_the_deadline_judges() {
        let mut late = LateReads::default();
        for _ in 0..2 {
            for _ in 0..MAX_LATE_READS {
                assert_eq!(late.or(Err(timed_out()), || Ok(1)).unwrap(), 1);
            }
            assert!(late.or(Err(timed_out()), || Ok(1)).is_err());
        }
    }

    #[test]
    fn a_read_in_time_begins_the_count_anew() {
        let mut late = LateReads::default();
        for _ in 0..3 * u32::from(MAX_LATE_READS) {
            assert_eq!(late.or(Err(timed_out()), || Ok(1)).unwrap(), 1);
            assert_eq!(late.or(Ok(2), || unreachable!("it was in time")).unwrap(), 2);
        }
        assert!(late.or(Err(timed_out()), || Err::<(), _>(timed_out())).is_err());
    }
}
