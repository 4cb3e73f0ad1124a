//! Writes a daemon's messages without making its threads wait for the reader.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Largest size of the queue in bytes. Messages beyond it are dropped and counted.
const QUEUE_BYTES: usize = 256 * 1024;

/// Pause before the next write to a full descriptor that another process has made non-blocking.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A stream with a thread of its own that writes to it, so that no other thread waits for the reader.
///
/// A pipe that is not read takes 64 KiB and then blocks its writer. Non-blocking mode would affect every process that has the
/// pipe, so the writer thread waits. Messages that do not fit the queue meanwhile are counted, and a notice takes their place
/// once there is room.
#[derive(Clone)]
pub(crate) struct MessageWriter {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Notified after every change of the state.
    changed: Condvar,
    /// Formats the notice about this number of dropped messages.
    notice: fn(u64) -> Vec<u8>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Vec<u8>>,
    /// Size of the messages that are queued or being written.
    bytes: usize,
    dropped: u64,
    is_writing: bool,
    /// Set once the reader has closed its end: later messages are discarded.
    is_closed: bool,
}

impl MessageWriter {
    /// Starts the writer thread.
    ///
    /// # Errors
    ///
    /// The thread cannot be spawned.
    pub(crate) fn start(stream: impl Write + Send + 'static, notice: fn(u64) -> Vec<u8>) -> io::Result<Self> {
        let inner = Arc::new(Inner { state: Mutex::default(), changed: Condvar::new(), notice });
        let writer = Arc::clone(&inner);
        thread::Builder::new().name("messages".to_owned()).spawn(move || writer.write_all_to(stream))?;
        Ok(Self { inner })
    }

    /// Queues `message`, whole, or drops and counts it if the queue is full. Never waits.
    pub(crate) fn send(&self, message: Vec<u8>) {
        let mut state = self.inner.lock();
        if state.is_closed {
            return;
        }
        if state.bytes + message.len() > QUEUE_BYTES {
            state.dropped += 1;
            return;
        }
        state.push_notice(self.inner.notice);
        state.push(message);
        self.inner.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than `timeout`.
    pub(crate) fn finish(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.inner.lock();
        while !state.is_closed && (state.is_writing || !state.queue.is_empty() || state.dropped > 0) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.inner.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn push(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }

    /// Queues the notice about dropped messages, if there are any, behind the messages that came before them.
    fn push_notice(&mut self, notice: fn(u64) -> Vec<u8>) {
        match std::mem::take(&mut self.dropped) {
            0 => {}
            dropped => self.push(notice(dropped)),
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that changes the state panics halfway, so a poisoned lock is usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut stream: impl Write) {
        let mut state = self.lock();
        let mut fails = false;
        loop {
            // A stream that fails, on a full disk for example, is tried again with the next message.
            if state.queue.is_empty() && !fails {
                state.push_notice(self.notice);
            }
            let Some(message) = state.queue.pop_front() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.is_writing = true;
            drop(state);
            let written = write_whole(&mut stream, &message);
            state = self.lock();
            // The message counts against the queue until it is written, so that a notice goes behind it.
            state.bytes -= message.len();
            state.is_writing = false;
            fails = written.is_err();
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    *state = State { is_closed: true, ..State::default() };
                    self.changed.notify_all();
                    return;
                }
                Err(_) => state.dropped += 1,
            }
            self.changed.notify_all();
        }
    }
}

/// Writes all of `message`, even to a non-blocking descriptor.
fn write_whole(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut rest = message;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(error) => return Err(error),
        }
    }
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    const WATCHDOG: Duration = Duration::from_mins(1);

    fn notice(dropped: u64) -> Vec<u8> {
        format!("{dropped} dropped\n").into_bytes()
    }

    #[test]
    fn messages_that_an_unread_pipe_does_not_take_are_counted_in_a_notice_in_their_place() {
        let (reader, writer) = io::pipe().unwrap();
        let messages = MessageWriter::start(writer, notice).unwrap();
        // Far more than the pipe and the queue hold together.
        let said = 20_000;
        (0..said).for_each(|number| messages.send(format!("{number:<99}\n").into_bytes()));
        messages.finish(Duration::from_millis(1));

        let mut lines = BufReader::new(reader).lines().map(|line| line.unwrap().trim_end().to_owned());
        let (mut next, mut dropped) = (0, 0);
        while next < said {
            let line = lines.next().unwrap();
            match line.strip_suffix(" dropped") {
                Some(number) => {
                    dropped += number.parse::<usize>().unwrap();
                    next += number.parse::<usize>().unwrap();
                }
                None => {
                    assert_eq!(
                        line,
                        next.to_string(),
                        "messages come in order, and a notice counts each that is lost"
                    );
                    next += 1;
                }
            }
        }
        assert_eq!(next, said);
        assert!(dropped > 0);
        messages.finish(WATCHDOG);
        messages.send(b"later\n".to_vec());
        assert_eq!(lines.next().as_deref(), Some("later"));
    }

    #[test]
    fn a_reader_that_closes_its_end_ends_the_writer() {
        let (reader, writer) = io::pipe().unwrap();
        let messages = MessageWriter::start(writer, notice).unwrap();
        drop(reader);
        messages.send(b"not read".to_vec());
        messages.finish(WATCHDOG);
        assert!(messages.inner.lock().is_closed);
        messages.send(b"not read".to_vec());
    }

    #[test]
    fn a_stream_that_fails_is_tried_once_for_each_message() {
        struct Full(Arc<Mutex<usize>>);
        impl Write for Full {
            fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
                *self.0.lock().unwrap() += 1;
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let tries = Arc::new(Mutex::new(0));
        let messages = MessageWriter::start(Full(Arc::clone(&tries)), notice).unwrap();
        messages.send(b"lost".to_vec());
        messages.finish(Duration::from_millis(50));
        assert_eq!(*tries.lock().unwrap(), 1);
    }
}
