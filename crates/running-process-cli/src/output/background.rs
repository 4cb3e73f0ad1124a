//! Messages of a daemon, which must not wait for their reader.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Largest size of the queue in bytes. Messages that exceed it are dropped and counted.
const QUEUE_BYTES: usize = 256 * 1024;

/// Pause before the next write to a full descriptor that another process has made non-blocking.
const PAUSE: Duration = Duration::from_millis(20);

/// A stream with a writer thread of its own, so that no other thread waits for its reader.
///
/// A pipe that is open and not read takes 64 KiB and then blocks its writer. Making it non-blocking would do so for every
/// process that has it, so only the writer thread waits. Messages dropped meanwhile are counted, and a notice takes their
/// place once there is room again.
#[derive(Clone)]
pub(crate) struct Background {
    shared: Arc<Shared>,
}

struct Shared {
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

impl Background {
    /// Starts the writer thread.
    ///
    /// # Errors
    ///
    /// The thread cannot be spawned.
    pub(crate) fn start(stream: impl Write + Send + 'static, notice: fn(u64) -> Vec<u8>) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), notice });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("messages".to_owned()).spawn(move || writer.write_all_to(stream))?;
        Ok(Self { shared })
    }

    /// Queues `message`, whole, or drops and counts it if the queue is full. Never waits.
    pub(crate) fn say(&self, message: Vec<u8>) {
        let mut state = self.shared.lock();
        if state.is_closed {
            return;
        }
        if state.bytes + message.len() > QUEUE_BYTES {
            state.dropped += 1;
            return;
        }
        state.tell_dropped(self.shared.notice);
        state.push(message);
        self.shared.changed.notify_all();
    }

    /// Waits until everything is written, but no longer than `patience`.
    pub(crate) fn finish(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.shared.lock();
        while !state.is_closed && (state.is_writing || !state.queue.is_empty() || state.dropped > 0) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.shared.changed.wait_timeout(state, left);
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
    fn tell_dropped(&mut self, notice: fn(u64) -> Vec<u8>) {
        match std::mem::take(&mut self.dropped) {
            0 => {}
            dropped => self.push(notice(dropped)),
        }
    }
}

impl Shared {
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
                state.tell_dropped(self.notice);
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

/// Writes all of `message`, also to a non-blocking descriptor.
fn write_whole(stream: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let mut rest = message;
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
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
    fn what_an_unread_pipe_does_not_take_is_dropped_counted_and_told_in_its_place() {
        let (reader, writer) = io::pipe().unwrap();
        let messages = Background::start(writer, notice).unwrap();
        // Far more than the pipe and the queue hold together.
        let said = 20_000;
        (0..said).for_each(|number| messages.say(format!("{number:<99}\n").into_bytes()));
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
                    assert_eq!(line, next.to_string(), "in order, and none is lost without a word");
                    next += 1;
                }
            }
        }
        assert_eq!(next, said);
        assert!(dropped > 0);
        messages.finish(WATCHDOG);
        messages.say(b"later\n".to_vec());
        assert_eq!(lines.next().as_deref(), Some("later"));
    }

    #[test]
    fn a_reader_that_leaves_ends_it() {
        let (reader, writer) = io::pipe().unwrap();
        let messages = Background::start(writer, notice).unwrap();
        drop(reader);
        messages.say(b"to nobody".to_vec());
        messages.finish(WATCHDOG);
        assert!(messages.shared.lock().is_closed);
        messages.say(b"to nobody".to_vec());
    }

    #[test]
    fn a_stream_that_fails_is_not_tried_over_and_over() {
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
        let messages = Background::start(Full(Arc::clone(&tries)), notice).unwrap();
        messages.say(b"lost".to_vec());
        messages.finish(Duration::from_millis(50));
        assert_eq!(*tries.lock().unwrap(), 1);
    }
}
