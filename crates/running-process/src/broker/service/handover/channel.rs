//! A connection of a handover: messages, with the descriptors that come along.

use super::messages::{MAX_MESSAGE_BYTES, Message};
use crate::sys::{PeerError, PidfdPolicy, ProcessHandle, own_user, wait_ready};
use crate::transport::{LocalStream, receive_descriptors, send_descriptors};
use rustix::event::{PollFd, PollFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

/// A connection between a daemon and its successor.
#[derive(Debug)]
pub(super) struct Channel {
    stream: LocalStream,
    /// Bytes that have been received and are no whole message yet.
    bytes: Vec<u8>,
    /// The descriptors that have come, at most those of one message.
    descriptors: Vec<OwnedFd>,
}

/// The end of a wait for a message.
#[derive(Debug)]
pub(super) enum Received {
    /// A message, with as many descriptors as [belong](Message::descriptors) to it.
    Message(Message, Vec<OwnedFd>),
    /// The other process has closed the connection or has ended.
    End,
    /// The descriptor that wakes has become readable.
    Woken,
    TimedOut,
}

impl Channel {
    pub(super) fn new(stream: LocalStream) -> Self {
        Self { stream, bytes: Vec::new(), descriptors: Vec::new() }
    }

    /// Returns the process at the other end, which is this user's.
    ///
    /// # Errors
    ///
    /// It is another user's, has ended, or the system does not name it.
    pub(super) fn peer(&self) -> io::Result<ProcessHandle> {
        let user = self.stream.user().map_err(unnamed)?.uid;
        let own = own_user().map_err(|error| io::Error::other(format!("{error:?}")))?;
        if user != Some(own) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the process at the other end is another user's",
            ));
        }
        Ok(self.stream.peer(PidfdPolicy::Use).map_err(unnamed)?.process)
    }

    /// Sends `message` with copies of its `descriptors`. Does not wait.
    ///
    /// # Errors
    ///
    /// The other process has gone, or does not read.
    pub(super) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        debug_assert_eq!(descriptors.len(), message.descriptors(), "{message:?}");
        send_descriptors(&self.stream, &message.encode(), descriptors)
    }

    /// Waits for a message until `wake` is readable or `deadline` has passed. A message that has arrived wins over both.
    ///
    /// # Errors
    ///
    /// Something else than a message came, or another number of descriptors; otherwise the error of the system.
    pub(super) fn receive(
        &mut self,
        wake: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<Received> {
        loop {
            if let Some((message, length)) = Message::decode(&self.bytes).map_err(invalid)? {
                self.bytes.drain(..length);
                let descriptors = std::mem::take(&mut self.descriptors);
                if descriptors.len() != message.descriptors() {
                    let text = format!("{} descriptors came with {message:?}", descriptors.len());
                    return Err(invalid(text));
                }
                return Ok(Received::Message(message, descriptors));
            }
            let mut ready = vec![PollFd::new(&self.stream, PollFlags::IN)];
            ready.extend(wake.map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
            if !wait_ready(&mut ready, deadline)? {
                return Ok(Received::TimedOut);
            }
            let has_arrived = !ready[0].revents().is_empty();
            drop(ready);
            if !has_arrived {
                return Ok(Received::Woken);
            }
            let mut buffer = [0; MAX_MESSAGE_BYTES];
            match receive_descriptors(&self.stream, &mut buffer, &mut self.descriptors) {
                Ok(0) => return Ok(Received::End),
                Ok(received) => self.bytes.extend_from_slice(&buffer[..received]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Received::End),
                Err(error) => return Err(error),
            }
        }
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn unnamed(error: PeerError) -> io::Error {
    match error {
        PeerError::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendFlags, send};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn pair() -> (UnixStream, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (one, Channel::new(other.into()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_message_arrives_however_its_bytes_are_cut_and_brings_its_descriptors() {
        let file = tempfile::tempfile().unwrap();
        for message in [Message::Hello, Message::Take { socket: (1, 2) }, Message::Left] {
            let bytes = message.encode();
            let descriptors = vec![file.as_fd(); message.descriptors()];
            for cut in 1..=bytes.len() {
                let (peer, mut channel) = pair();
                send_descriptors(&peer, &bytes[..cut], &descriptors).unwrap();
                if cut < bytes.len() {
                    let now = Some(Instant::now());
                    assert!(matches!(channel.receive(None, now).unwrap(), Received::TimedOut));
                    send(&peer, &bytes[cut..], SendFlags::empty()).unwrap();
                }
                let Received::Message(received, came) = channel.receive(None, Some(soon())).unwrap() else {
                    panic!("{message:?} cut at {cut}")
                };
                assert_eq!((received, came.len()), (message.clone(), descriptors.len()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_message_with_other_descriptors_is_refused() {
        let file = tempfile::tempfile().unwrap();
        for (message, count) in [(Message::Hello, 0), (Message::Hello, 2), (Message::Left, 1)] {
            let (peer, mut channel) = pair();
            send_descriptors(&peer, &message.encode(), &vec![file.as_fd(); count]).unwrap();
            let error = channel.receive(None, Some(soon())).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{message:?} with {count}");
        }
    }

    #[test]
    fn other_bytes_and_the_end_are_told_apart() {
        let (peer, mut channel) = pair();
        send_descriptors(&peer, b"GET / HTTP/1.1\r\n", &[]).unwrap();
        assert_eq!(channel.receive(None, Some(soon())).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let (peer, mut channel) = pair();
        send_descriptors(&peer, &Message::Hello.encode()[..3], &[]).unwrap();
        drop(peer);
        assert!(matches!(channel.receive(None, Some(soon())).unwrap(), Received::End));
    }

    #[test]
    fn what_has_arrived_wins_over_the_wake_and_the_deadline() {
        let (peer, mut channel) = pair();
        let wake = crate::transport::StopSignal::new().unwrap();
        wake.stop();
        let passed = Some(Instant::now());
        assert!(matches!(channel.receive(Some(wake.as_fd()), None).unwrap(), Received::Woken));
        send_descriptors(&peer, &Message::Published.encode(), &[]).unwrap();
        let received = channel.receive(Some(wake.as_fd()), passed).unwrap();
        assert!(matches!(received, Received::Message(Message::Published, _)), "{received:?}");
        assert!(matches!(channel.receive(None, passed).unwrap(), Received::TimedOut));
    }

    #[test]
    fn the_process_at_the_other_end_is_named() {
        let (_peer, channel) = pair();
        assert_eq!(channel.peer().unwrap().pid(), std::process::id());
    }

    #[test]
    fn a_peer_that_ends_before_it_has_read_all_has_ended() {
        let (peer, mut channel) = pair();
        channel.send(&Message::Left, &[]).unwrap();
        drop(peer);
        assert!(matches!(channel.receive(None, Some(soon())).unwrap(), Received::End));
    }
}
