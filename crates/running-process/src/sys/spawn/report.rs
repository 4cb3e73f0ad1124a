//! Messages of the launcher to the starter: three integers each.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use super::failure::{Failure, Step};
use super::plan::ProcessEnd;

/// Bytes of a message.
pub(super) const LENGTH: usize = 12;

const STARTED: i32 = 1;
const FAILED: i32 = 2;
const EXITED: i32 = 3;
const SIGNALED: i32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// The daemon with this process id executes its program.
    Started(i32),
    Failed(Failure),
    Ended(ProcessEnd),
}

impl Report {
    pub(super) fn to_bytes(self) -> [u8; LENGTH] {
        let [kind, first, second] = match self {
            Self::Started(pid) => [STARTED, pid, 0],
            Self::Failed(Failure { step, errno }) => [FAILED, step as i32, errno],
            Self::Ended(ProcessEnd::Exited(status)) => [EXITED, status, 0],
            Self::Ended(ProcessEnd::Signaled { signal, core }) => [SIGNALED, signal, i32::from(core)],
            Self::Ended(ProcessEnd::Unknown) => [0; 3],
        };
        let mut bytes = [0; LENGTH];
        let (integers, _) = bytes.as_chunks_mut();
        for (place, integer) in integers.iter_mut().zip([kind, first, second]) {
            *place = integer.to_ne_bytes();
        }
        bytes
    }

    /// Reads the next message; returns `None` at the end of the stream.
    pub(super) fn read(mut stream: &UnixStream) -> io::Result<Option<Self>> {
        let mut bytes = [0; LENGTH];
        match stream.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let mut integers = bytes.as_chunks().0.iter().map(|integer| i32::from_ne_bytes(*integer));
        let mut next = || integers.next().unwrap_or_default();
        Ok(Some(match (next(), next(), next()) {
            (STARTED, pid, _) => Self::Started(pid),
            (FAILED, step, errno) => Self::Failed(Failure { step: Step::from_number(step), errno }),
            (EXITED, status, _) => Self::Ended(ProcessEnd::Exited(status)),
            (SIGNALED, signal, core) => Self::Ended(ProcessEnd::Signaled { signal, core: core != 0 }),
            _ => Self::Ended(ProcessEnd::Unknown),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let (mut writer, reader) = UnixStream::pair().unwrap();
        let failure = |step| Report::Failed(Failure { step, errno: 13 });
        let all = [
            Report::Started(4711),
            failure(Step::Fork),
            failure(Step::Descriptors),
            failure(Step::Directory),
            failure(Step::Execute),
            Report::Ended(ProcessEnd::Exited(255)),
            Report::Ended(ProcessEnd::Signaled { signal: 9, core: false }),
            Report::Ended(ProcessEnd::Signaled { signal: 11, core: true }),
            Report::Ended(ProcessEnd::Unknown),
        ];
        for report in all {
            writer.write_all(&report.to_bytes()).unwrap();
            assert_eq!(Report::read(&reader).unwrap(), Some(report));
        }
        drop(writer);
        assert_eq!(Report::read(&reader).unwrap(), None);
    }
}
