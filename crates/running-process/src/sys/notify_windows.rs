//! Notifications of a daemon's state over a named pipe, in the texts of `sd_notify(3)`.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;
use std::time::Instant;

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_MORE_DATA, ERROR_NO_DATA, ERROR_PIPE_BUSY, ERROR_PIPE_LISTENING,
    ERROR_PIPE_NOT_CONNECTED, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, OPEN_EXISTING, PIPE_ACCESS_INBOUND, ReadFile,
    SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, DisconnectNamedPipe, PIPE_NOWAIT, PIPE_READMODE_MESSAGE,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_MESSAGE, WaitNamedPipeW,
};

use super::notification::{LONGEST, Notification, SEND_TIMEOUT};
use super::windows_overlapped::clip;
use super::windows_pipe;
use super::windows_security::CurrentUserOnly;

/// The beginning of a pipe's path.
const PREFIX: &str = r"\\.\pipe\";

/// A named pipe to which a daemon sends notifications, one sender after the other. It cannot be waited for: the receiver looks
/// at intervals.
#[derive(Debug)]
pub(crate) struct NotifySocket(OwnedHandle);

impl NotifySocket {
    /// Makes the pipe `path`, which begins with `\\.\pipe\`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] if the path is not that of a pipe; [`io::ErrorKind::PermissionDenied`] if the pipe is
    /// there already; otherwise the error of the system.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let path = pipe_path(path.as_os_str())?;
        let security = CurrentUserOnly::new()?;
        let attributes = security.attributes();
        let mode = PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_NOWAIT | PIPE_REJECT_REMOTE_CLIENTS;
        let access = PIPE_ACCESS_INBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE;
        let capacity = clip(LONGEST);
        // SAFETY: the path ends in NUL, and the attributes outlive the call.
        let pipe = unsafe {
            CreateNamedPipeW(path.as_ptr(), access, mode, 1, capacity, capacity, 0, &raw const attributes)
        };
        own(pipe).map(Self)
    }

    /// Receives the next notification; returns `None` if there is none yet. Longer ones than 4096 bytes are left out.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub(crate) fn receive(&self) -> io::Result<Option<Notification>> {
        let mut buffer = [0; LONGEST];
        let mut too_long = false;
        loop {
            match self.read(&mut buffer) {
                Ok(_) if too_long => too_long = false,
                Ok(received) => {
                    let sender_pid = windows_pipe::client(self.0.as_handle()).ok().and_then(|user| user.pid);
                    let text = buffer[..received].to_vec();
                    return Ok(Some(Notification { sender_pid, sender_uid: None, text }));
                }
                Err(error) => match error.raw_os_error().map(i32::cast_unsigned) {
                    Some(ERROR_MORE_DATA) => too_long = true,
                    Some(ERROR_NO_DATA | ERROR_PIPE_LISTENING) => return Ok(None),
                    Some(ERROR_BROKEN_PIPE | ERROR_PIPE_NOT_CONNECTED) => self.listen_again()?,
                    _ => return Err(error),
                },
            }
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = 0;
        let length = clip(buffer.len());
        // SAFETY: the buffer is exclusively borrowed and has that length. The pipe was not opened for overlapped operation.
        let result = unsafe {
            let pipe = self.0.as_raw_handle();
            ReadFile(pipe, buffer.as_mut_ptr(), length, &raw mut received, ptr::null_mut())
        };
        if result == 0 { Err(io::Error::last_os_error()) } else { Ok(received as usize) }
    }

    /// Lets the next sender in. The one before has closed its end.
    fn listen_again(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        if unsafe { DisconnectNamedPipe(self.0.as_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // The pipe does not wait, so this only makes it available, and reading tells whether a sender is there.
        // SAFETY: the handle is open, and the pipe was not opened for overlapped operation.
        unsafe { ConnectNamedPipe(self.0.as_raw_handle(), ptr::null_mut()) };
        Ok(())
    }
}

/// Sends `text` to the pipe `address`, the value of `NOTIFY_SOCKET`. Waits at most a second for its turn.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] if the address is not that of a pipe; otherwise the error of the system, such as
/// [`io::ErrorKind::NotFound`] if nothing receives.
pub(crate) fn notify(address: &OsStr, text: &[u8]) -> io::Result<()> {
    let path = pipe_path(address)?;
    let deadline = Instant::now() + SEND_TIMEOUT;
    let pipe = loop {
        match open(&path) {
            Err(error) if error.raw_os_error() == Some(ERROR_PIPE_BUSY.cast_signed()) => {
                let left = deadline.saturating_duration_since(Instant::now()).as_millis();
                if left == 0 {
                    return Err(error);
                }
                // Another sender may be faster, so the result does not matter.
                // SAFETY: the path ends in NUL.
                unsafe { WaitNamedPipeW(path.as_ptr(), u32::try_from(left).unwrap_or(1)) };
            }
            opened => break opened?,
        }
    };
    let mut written = 0;
    // SAFETY: the text has that length and outlives the call. The pipe was not opened for overlapped operation.
    let result = unsafe {
        let length = clip(text.len());
        WriteFile(pipe.as_raw_handle(), text.as_ptr(), length, &raw mut written, ptr::null_mut())
    };
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns `None`: a session on Windows is that of a login, and no process leads it.
pub(crate) fn session_of(_pid: u32) -> Option<u32> {
    None
}

fn open(path: &[u16]) -> io::Result<OwnedHandle> {
    let flags = SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION;
    // SAFETY: the path ends in NUL, and null stands for default attributes and for no template.
    let pipe = unsafe {
        CreateFileW(path.as_ptr(), GENERIC_WRITE, 0, ptr::null(), OPEN_EXISTING, flags, ptr::null_mut())
    };
    own(pipe)
}

fn own(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system has made this handle for this call, so it is open and no other code owns it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// Returns the units of the path and a NUL.
fn pipe_path(path: &OsStr) -> io::Result<Vec<u16>> {
    let units: Vec<u16> = path.encode_wide().collect();
    if !path.to_string_lossy().starts_with(PREFIX) || units.contains(&0) {
        let message = format!("\"{}\" is not the path of a pipe for notifications", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(units.into_iter().chain([0]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(name: &str) -> (NotifySocket, String) {
        let path = format!("{PREFIX}running-process-{name}-{}", std::process::id());
        (NotifySocket::bind(Path::new(&path)).unwrap(), path)
    }

    #[test]
    fn a_notification_arrives_with_its_sender() {
        let (socket, path) = bound("sender");
        assert_eq!(socket.receive().unwrap(), None);
        for text in ["STATUS=nearly", "READY=1"] {
            notify(OsStr::new(&path), text.as_bytes()).unwrap();
            let received = socket.receive().unwrap().unwrap();
            assert_eq!(received.text, text.as_bytes());
            assert_eq!(received.sender_pid, Some(std::process::id()));
            assert_eq!(socket.receive().unwrap(), None);
        }
    }

    #[test]
    fn a_notification_that_is_too_long_is_left_out() {
        let (socket, path) = bound("long");
        let sender = std::thread::spawn(move || {
            notify(OsStr::new(&path), &[b'x'; 3 * LONGEST]).unwrap();
            notify(OsStr::new(&path), &[b'x'; LONGEST]).unwrap();
        });
        let received = loop {
            if let Some(received) = socket.receive().unwrap() {
                break received;
            }
            std::thread::yield_now();
        };
        assert_eq!(received.text.len(), LONGEST);
        sender.join().unwrap();
    }

    #[test]
    fn nothing_is_sent_to_an_address_of_another_form() {
        for address in ["", r"C:\file", r"\\server\pipe\name"] {
            assert_eq!(notify(OsStr::new(address), b"").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
        let absent = notify(OsStr::new(r"\\.\pipe\running-process-nowhere"), b"");
        assert_eq!(absent.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
