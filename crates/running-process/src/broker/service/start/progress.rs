//! The reports of a daemon that starts, in the format of `sd_notify(3)`: a pure parser.

use std::time::Duration;

/// Longest status that is kept, in bytes.
const MAX_STATUS_BYTES: usize = 200;
/// Longest extension that one report asks for.
const LONGEST_EXTENSION: Duration = Duration::from_hours(1);

/// One report of a daemon.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::broker::service) struct Progress {
    /// `READY=1`: the daemon serves.
    pub(in crate::broker::service) ready: bool,
    /// `STATUS=`: a line for people.
    pub(in crate::broker::service) status: Option<String>,
    /// `EXTEND_TIMEOUT_USEC=`: the next report comes within this time.
    pub(in crate::broker::service) extension: Option<Duration>,
}

impl Progress {
    /// Returns the report in `text`: one assignment on each line, of which unknown ones are ignored.
    pub(in crate::broker::service) fn parse(text: &[u8]) -> Self {
        let mut progress = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(equals) = line.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (&line[..equals], &line[equals + 1..]);
            match name {
                b"READY" => progress.ready |= value == b"1",
                b"STATUS" => progress.status = Some(status(value)),
                b"EXTEND_TIMEOUT_USEC" => {
                    let micros = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    progress.extension =
                        micros.map(|micros| Duration::from_micros(micros).min(LONGEST_EXTENSION));
                }
                _ => {}
            }
        }
        progress
    }
}

/// Returns the text of a status, cut and without control characters: it is shown on terminals.
fn status(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(&value[..value.len().min(MAX_STATUS_BYTES)]);
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_read_and_others_ignored() {
        let text =
            b"MAINPID=7\nSTATUS=loading\x1b[31m 3 of 9\nEXTEND_TIMEOUT_USEC=5000000\nREADY=1\nWATCHDOG=1\n";
        let progress = Progress {
            ready: true,
            status: Some("loading [31m 3 of 9".to_owned()),
            extension: Some(Duration::from_secs(5)),
        };
        assert_eq!(Progress::parse(text), progress);
    }

    #[test]
    fn damaged_reports_say_nothing() {
        for text in [
            &b""[..],
            b"READY",
            b"READY=0",
            b"READY=11",
            b"EXTEND_TIMEOUT_USEC=-1",
            b"=",
            b"\n\n",
            b"ready=1",
        ] {
            assert_eq!(Progress::parse(text), Progress::default(), "{text:?}");
        }
        let huge = Progress::parse(b"EXTEND_TIMEOUT_USEC=18446744073709551615");
        assert_eq!(huge.extension, Some(LONGEST_EXTENSION));
    }
}
