//! The output of the fronted daemon.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

/// Longest wait for the last output of a daemon that has ended. A process that it leaves behind may keep its output open.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// A pipe whose content a thread passes on to the standard error of this process. That is the log of the service, whose size this
/// process bounds, or a terminal.
pub(super) struct Output(Mutex<Receiver<()>>);

impl Output {
    /// Returns the output, and the file to write to.
    pub(super) fn pass_on() -> io::Result<(Self, File)> {
        let (mut read, write) = io::pipe()?;
        let (ended, end) = sync_channel(1);
        thread::Builder::new().name("running-process-fronted".to_owned()).spawn(move || {
            // Drops what a closed terminal does not take, as the fronted daemon would lose it.
            let mut to = io::stderr();
            while io::copy(&mut read, &mut to).is_err() && io::copy(&mut read, &mut io::sink()).is_err() {}
            drop(ended);
        })?;
        #[cfg(unix)]
        let write = File::from(std::os::fd::OwnedFd::from(write));
        #[cfg(windows)]
        let write = File::from(std::os::windows::io::OwnedHandle::from(write));
        Ok((Self(Mutex::new(end)), write))
    }

    /// Waits until all that was written is passed on.
    pub(super) fn finish(&self) {
        let end = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _passed_on_or_late = end.recv_timeout(LAST_OUTPUT);
    }
}
