//! The signals that ask this process to end.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io::{self, PipeReader, Read};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

#[cfg(target_os = "android")]
use libc::__errno as errno_location;
#[cfg(target_os = "linux")]
use libc::__errno_location as errno_location;
#[cfg(any(target_os = "macos", target_os = "freebsd"))]
use libc::__error as errno_location;

/// A service manager's request, the terminal's interrupt key, and the end of the terminal.
const SIGNALS: [c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// The descriptor to which the handler writes one byte for each signal; -1 before there is one. It is never closed.
static WRITER: AtomicI32 = AtomicI32::new(-1);
/// The process that reads the other end.
static OWNER: AtomicI32 = AtomicI32::new(0);
static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { actions: Vec::new(), taken: Vec::new(), next_id: 0 });

type Action = Arc<dyn Fn() + Send + Sync>;

struct Registry {
    actions: Vec<(u64, Action)>,
    /// The signals whose handler is [`handle`], while there are actions.
    taken: Vec<c_int>,
    next_id: u64,
}

fn registry() -> MutexGuard<'static, Registry> {
    // Nothing that can panic changes it halfway.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs an action for each request to end this process, until it is dropped.
///
/// [`Server::stop_on_signals`](crate::broker::backend_sdk::Server::stop_on_signals) is made of it; programs with an event
/// loop of their own use it directly.
///
/// # Platform-specific behavior
///
/// On Unix the requests are SIGTERM, SIGINT and SIGHUP. One that is ignored, as under `nohup`, or that this process handles by
/// itself is left as it is. On Windows they are those of the console. On Unix systems other than Linux, macOS and FreeBSD
/// making one is [`Unsupported`](std::io::ErrorKind::Unsupported).
#[derive(Debug)]
pub struct OnTermination {
    id: u64,
}

impl OnTermination {
    /// Runs `action` on a thread of this module whenever SIGTERM, SIGINT or SIGHUP comes. A signal that is ignored, or that
    /// this process handles itself, is left as it is.
    ///
    /// # Errors
    ///
    /// A pipe or the thread could not be made.
    pub fn new(action: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let mut registry = registry();
        start_thread()?;
        if registry.actions.is_empty() {
            registry.taken = SIGNALS.into_iter().filter(|signal| take(*signal)).collect();
        }
        let id = registry.next_id;
        registry.next_id += 1;
        registry.actions.push((id, Arc::new(action)));
        Ok(Self { id })
    }
}

/// With the last action the signals get their default effect again.
impl Drop for OnTermination {
    fn drop(&mut self) {
        let mut registry = registry();
        let position = registry.actions.iter().position(|(id, _)| *id == self.id);
        let action = position.map(|position| registry.actions.swap_remove(position));
        if registry.actions.is_empty() {
            for signal in std::mem::take(&mut registry.taken) {
                // A handler that other code has set since stays.
                if disposition(signal) == own_handler() {
                    set_disposition(signal, libc::SIG_DFL);
                }
            }
        }
        drop(registry);
        // The action may own anything, so it is dropped without the lock.
        drop(action);
    }
}

/// Starts the thread that runs the actions, once in each process. The caller holds the registry.
fn start_thread() -> io::Result<()> {
    let process = own_pid();
    if OWNER.load(Ordering::Acquire) == process {
        return Ok(());
    }
    let (reader, writer) = io::pipe()?;
    // The handler must not wait, and a signal more than the pipe holds changes nothing.
    rustix::io::ioctl_fionbio(&writer, true)?;
    thread::Builder::new().name("running-process-signals".to_owned()).spawn(move || run_actions(reader))?;
    WRITER.store(writer.into_raw_fd(), Ordering::Release);
    OWNER.store(process, Ordering::Release);
    Ok(())
}

fn run_actions(mut signals: PipeReader) {
    // The writing end is never closed, so reading does not end.
    while let Ok(1..) = signals.read(&mut [0]) {
        let actions: Vec<_> = registry().actions.iter().map(|(_, action)| Arc::clone(action)).collect();
        for action in actions {
            action();
        }
    }
}

/// Makes [`handle`] the handler of `signal` if it still has its default effect.
fn take(signal: c_int) -> bool {
    let found = disposition(signal);
    if found == libc::SIG_DFL {
        set_disposition(signal, own_handler());
    }
    found == libc::SIG_DFL || found == own_handler()
}

fn own_handler() -> libc::sighandler_t {
    handle as extern "C" fn(c_int) as libc::sighandler_t
}

/// The handler of `signal`, or `SIG_DFL` or `SIG_IGN`.
fn disposition(signal: c_int) -> libc::sighandler_t {
    let mut found = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null pointer asks for the present action only, which is written to `found`; the signal exists, so this does
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

/// Wakes the thread. In a process that this one forked, and which runs no other program, the signal has its default effect.
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
