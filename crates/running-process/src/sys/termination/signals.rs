//! The signals that ask this process to end.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::{self, PipeReader, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use super::actions;

#[cfg(target_os = "android")]
use libc::__errno as errno_location;
#[cfg(target_os = "linux")]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use libc::__error as errno_location;

/// The signals of a service manager, of the terminal's interrupt key, and of the end of the terminal.
const SIGNALS: [c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// The descriptor to which the handler writes one byte for each signal, or -1 before the thread starts. It is never
/// closed.
static WRITER: AtomicI32 = AtomicI32::new(-1);
/// The process that reads the other end.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Starts the thread, and for the `first` action takes the signals that have their default effect.
///
/// The caller holds the lock of the actions.
pub(super) fn enable(first: bool) -> io::Result<()> {
    start_thread()?;
    if first {
        SIGNALS.into_iter().for_each(take);
    }
    Ok(())
}

/// Gives the signals their default effect again. A handler that other code has set since stays.
///
/// The caller holds the lock of the actions.
pub(super) fn disable() {
    for signal in SIGNALS.into_iter().filter(|signal| disposition(*signal) == own_handler()) {
        set_disposition(signal, libc::SIG_DFL);
    }
}

/// Starts the thread that runs the actions, once in each process.
fn start_thread() -> io::Result<()> {
    let process = own_pid();
    if OWNER.load(Ordering::Acquire) == process {
        return Ok(());
    }
    let (reader, writer) = io::pipe()?;
    // The handler must not block. Losing a byte of a full pipe changes nothing: the thread wakes anyway.
    rustix::io::ioctl_fionbio(&writer, true)?;
    thread::Builder::new().name("running-process-signals".to_owned()).spawn(move || run_actions(reader))?;
    WRITER.store(writer.into_raw_fd(), Ordering::Release);
    OWNER.store(process, Ordering::Release);
    Ok(())
}

fn run_actions(mut signals: PipeReader) {
    // The writing end is never closed, so reading never ends.
    loop {
        match signals.read(&mut [0]) {
            Ok(1..) => actions::run_all(),
            // By a handler of other code that runs on this thread.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Makes [`handle`] the handler of `signal` if that has its default effect.
fn take(signal: c_int) {
    if disposition(signal) == libc::SIG_DFL {
        set_disposition(signal, own_handler());
    }
}

fn own_handler() -> libc::sighandler_t {
    handle as extern "C" fn(c_int) as libc::sighandler_t
}

/// Returns the handler of `signal`, or `SIG_DFL` or `SIG_IGN`.
fn disposition(signal: c_int) -> libc::sighandler_t {
    let mut found = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null pointer the call only reads the present action into `found`. The signal exists, so the call does
    // not fail, and all zeros would be a valid value.
    unsafe {
        libc::sigaction(signal, ptr::null(), found.as_mut_ptr());
        found.assume_init().sa_sigaction
    }
}

fn set_disposition(signal: c_int, handler: libc::sighandler_t) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros are a valid value: no flags, an empty mask. The handler is `SIG_DFL` or `handle`, which has the type
    // that is called without `SA_SIGINFO` and does only what a handler may (signal-safety(7)). Calls that the signal
    // interrupts are restarted. The signal exists and may be handled, so this does not fail.
    unsafe {
        (*action.as_mut_ptr()).sa_sigaction = handler;
        (*action.as_mut_ptr()).sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, action.as_ptr(), ptr::null_mut());
    }
}

fn own_pid() -> i32 {
    std::process::id().cast_signed()
}

/// Wakes the thread. In a child that this process forked and that runs no other program, the signal gets its default effect.
extern "C" fn handle(signal: c_int) {
    if OWNER.load(Ordering::Acquire) != own_pid() {
        set_disposition(signal, libc::SIG_DFL);
        // SAFETY: raising a signal has no precondition. It has its effect once this handler returns, which it blocks until then.
        unsafe { libc::raise(signal) };
        return;
    }
    // SAFETY: the location is this thread's own.
    let interrupted = unsafe { *errno_location() };
    // SAFETY: the descriptor is never closed in the process that owns it.
    let writer = unsafe { BorrowedFd::borrow_raw(WRITER.load(Ordering::Acquire)) };
    // A full pipe wakes the thread as well.
    let _full = rustix::io::write(writer, &[1]);
    // SAFETY: as above.
    unsafe { *errno_location() = interrupted };
}
