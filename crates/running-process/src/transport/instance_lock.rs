//! The lock on a file that makes a process the only instance.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use super::error::{BindError, LockFault};
use super::imp;
use crate::sys::{LockHolder, lock_holder};

/// Bound on the attempts to take a lock that is free but for processes that only ask whether it is held.
const ATTEMPTS: usize = 1000;
/// The first and the longest pause between two attempts. A process that only asks may have lost its processor to those that
/// try again, so they must not keep it busy.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

/// Bound on the lock files that are opened and found to have been replaced.
const REPLACEMENTS: usize = 100;

/// An exclusive lock on a file, held by an open file: a child that gets a copy of the descriptor holds it as well.
///
/// Dropping the value closes this descriptor and leaves the lock to the copies; [`release`](Self::release) ends the lock for
/// all of them. The file stays behind: if it were removed, one process could hold the lock on the removed file and another on
/// its successor.
#[derive(Debug)]
pub(crate) struct InstanceLock {
    file: File,
    path: PathBuf,
}

impl InstanceLock {
    /// Takes the lock on the file at `path`, which is made with mode 0600 if there is none. Returns `None` if another open
    /// file has the lock, of this process or of another one. The directory exists, and no other user can replace files in it.
    ///
    /// # Errors
    ///
    /// As those of [`LocalListener::bind`](super::LocalListener::bind) that concern the directory and the lock file.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, BindError> {
        let path = std::path::absolute(path).map_err(|error| failed(path, error))?;
        Self::take_opened(&path, || imp::open_lock(&path))
    }

    /// Takes the lock on the file that `open` returns, which is the one at `path`.
    pub(super) fn take_opened(
        path: &Path,
        open: impl Fn() -> Result<File, BindError>,
    ) -> Result<Option<Self>, BindError> {
        for _ in 0..REPLACEMENTS {
            let file = open()?;
            if !take(&file).map_err(|error| failed(path, error))? {
                return Ok(None);
            }
            let lock = Self { file, path: path.to_owned() };
            if lock.is_in_place() {
                return Ok(Some(lock));
            }
            // The file was replaced after it had been opened.
        }
        Err(BindError::Lock { path: path.to_string_lossy().into_owned(), fault: LockFault::Replaced })
    }

    /// Takes over the lock of a descriptor that the parent process passed. From now on children do not inherit it.
    ///
    /// # Errors
    ///
    /// `file` is not the lock file at `path`, or another open file has the lock.
    #[cfg_attr(windows, allow(dead_code, reason = "the system passes no lock to a child"))]
    pub(crate) fn from_file(file: File, path: &Path) -> Result<Self, BindError> {
        let path = std::path::absolute(path).map_err(|error| failed(path, error))?;
        imp::adopt_lock(&file, &path)?;
        let lock = Self { file, path };
        match imp::is_lock_at(&lock.file, &lock.path) {
            Ok(true) => {}
            Ok(false) => return Err(lock.fault(LockFault::Replaced)),
            Err(error) => return Err(failed(&lock.path, error)),
        }
        match take(&lock.file) {
            Ok(true) => Ok(lock),
            Ok(false) => Err(BindError::InUse { path: lock.path.to_string_lossy().into_owned() }),
            Err(error) => Err(failed(&lock.path, error)),
        }
    }

    /// Returns whether the lock on the file at `path` is held; it is not if there is no such file.
    ///
    /// A shared lock is tried for that, so a process that takes the lock at this moment has to try again, as
    /// [`try_take`](Self::try_take) does by itself.
    ///
    /// # Errors
    ///
    /// The file is not a lock file of this user, or cannot be examined.
    pub(crate) fn is_held(path: &Path) -> Result<bool, BindError> {
        Self::held(path).map(|file| file.is_some())
    }

    /// Returns the holder of the lock on the file at `path`, for which Linux looks at all descriptors of all processes; `None`
    /// if there is no holder or no such file.
    ///
    /// # Errors
    ///
    /// As those of [`is_held`](Self::is_held).
    pub(crate) fn holder(path: &Path) -> Result<Option<LockHolder>, BindError> {
        Self::held(path).map(|file| file.map(|file| lock_holder(&file)))
    }

    /// Returns the file at `path` if its lock is held.
    fn held(path: &Path) -> Result<Option<File>, BindError> {
        let Some(file) = imp::find_lock(path)? else { return Ok(None) };
        match again_if_interrupted(|| file.try_lock_shared()) {
            Ok(()) => {
                // Closing the file ends the lock too, unless a child that is just about to run its program has a copy.
                let _ = file.unlock();
                Ok(None)
            }
            Err(TryLockError::WouldBlock) => Ok(Some(file)),
            Err(TryLockError::Error(error)) => Err(failed(path, error)),
        }
    }

    /// Returns the open file, of which a child may get a copy.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns whether the locked file is still the one at its path, so that other processes find the lock held.
    pub(crate) fn is_in_place(&self) -> bool {
        imp::is_lock_at(&self.file, &self.path).unwrap_or(false)
    }

    /// Ends the lock, also for the children that have a copy of the descriptor.
    pub(crate) fn release(self) {
        self.unlock();
    }

    /// Ends the lock as [`release`](Self::release) does. The file stays open.
    pub(crate) fn unlock(&self) {
        // Closing the file would unlock it only if no child has a copy.
        let _ = self.file.unlock();
    }

    #[cfg_attr(windows, allow(dead_code, reason = "the system passes no lock to a child"))]
    fn fault(&self, fault: LockFault) -> BindError {
        BindError::Lock { path: self.path.to_string_lossy().into_owned(), fault }
    }
}

/// Takes the lock on `file`, and returns whether it has it. A shared lock can be had only while no process holds the
/// exclusive one, so a process that only asks for the holder is not mistaken for it.
fn take(file: &File) -> io::Result<bool> {
    let mut pause = FIRST_PAUSE;
    for _ in 0..ATTEMPTS {
        match again_if_interrupted(|| file.try_lock()) {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match again_if_interrupted(|| file.try_lock_shared()) {
            Ok(()) => file.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(false)
}

/// Repeats `lock` until no signal interrupts it: network file systems ask a server.
pub(crate) fn again_if_interrupted(lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
    loop {
        match lock() {
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn failed(path: &Path, error: io::Error) -> BindError {
    let (path, has_locks) = (path.to_string_lossy().into_owned(), imp::has_locks(&error));
    let source = Arc::new(error);
    if has_locks { BindError::Io { path, source } } else { BindError::NoLocks { path, source } }
}

/// An [`InstanceLock`] with several owners in one process, released by the last of them.
///
/// Two processes share the lock while one hands it over to the other: unlocking it in one of them would end it for both. So only
/// the process that owns it unlocks it. The other one [borrows](Self::borrowed) it, or has [left](Self::leave) it, and only
/// closes it.
#[derive(Debug, Clone)]
pub(crate) struct HeldLock(Arc<Released>);

/// A lock that is released, not only closed, when it is dropped by its owner.
#[derive(Debug)]
struct Released {
    #[cfg_attr(windows, allow(dead_code, reason = "no directory of a lock is watched"))]
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
enum Held {
    Owned(InstanceLock),
    #[cfg_attr(windows, allow(dead_code, reason = "the system passes no lock to another process"))]
    Borrowed(InstanceLock),
    #[cfg_attr(windows, allow(dead_code, reason = "the system passes no lock to another process"))]
    Left,
}

impl Held {
    fn lock(&self) -> Option<&InstanceLock> {
        match self {
            Self::Owned(lock) | Self::Borrowed(lock) => Some(lock),
            Self::Left => None,
        }
    }
}

impl HeldLock {
    pub(crate) fn new(lock: InstanceLock) -> Self {
        Self::of(lock.path.clone(), Held::Owned(lock))
    }

    /// Returns a lock that another process owns and has passed to this one.
    #[cfg(unix)]
    pub(crate) fn borrowed(lock: InstanceLock) -> Self {
        Self::of(lock.path.clone(), Held::Borrowed(lock))
    }

    fn of(path: PathBuf, held: Held) -> Self {
        Self(Arc::new(Released { path, held: Mutex::new(held) }))
    }

    /// Makes this process the owner of a lock that it borrows.
    #[cfg(unix)]
    pub(crate) fn own(&self) {
        let mut held = self.held();
        *held = match std::mem::replace(&mut *held, Held::Left) {
            Held::Borrowed(lock) => Held::Owned(lock),
            held => held,
        };
    }

    /// Leaves the lock to the other process that has it: this one closes it, and does not unlock it.
    #[cfg(unix)]
    pub(crate) fn leave(&self) {
        *self.held() = Held::Left;
    }

    /// Returns whether this process owns the lock.
    #[cfg_attr(windows, allow(dead_code, reason = "every lock there is owned"))]
    pub(crate) fn is_owner(&self) -> bool {
        matches!(*self.held(), Held::Owned(_))
    }

    /// Returns whether this process [borrows](Self::borrowed) the lock.
    #[cfg(unix)]
    pub(crate) fn is_borrowed(&self) -> bool {
        matches!(*self.held(), Held::Borrowed(_))
    }

    /// Returns the result of `use_file` for the open file, of which another process may get a copy; `None` if it was
    /// [left](Self::leave).
    #[cfg(unix)]
    pub(crate) fn with_file<T>(&self, use_file: impl FnOnce(&File) -> T) -> Option<T> {
        self.held().lock().map(|lock| use_file(lock.file()))
    }

    /// Takes the lock again if a process to which it was passed has ended it. Returns whether this process has it.
    #[cfg(unix)]
    pub(crate) fn is_taken_again(&self) -> bool {
        self.held().lock().is_some_and(|lock| take(&lock.file).unwrap_or(false))
    }

    /// Returns whether the locked file is [still the one at its path](InstanceLock::is_in_place).
    pub(crate) fn is_in_place(&self) -> bool {
        self.held().lock().is_some_and(InstanceLock::is_in_place)
    }

    /// Returns the path of the file.
    #[cfg(unix)]
    pub(super) fn path(&self) -> PathBuf {
        self.0.path.clone()
    }

    /// Takes the lock on the file that is at the path now, for all owners, if that is another one than was locked. Returns
    /// whether it is.
    ///
    /// # Errors
    ///
    /// Another process has that lock, or the file cannot be locked. The owners then have the lock on the earlier file.
    #[cfg(unix)]
    pub(super) fn renew(&self) -> Result<bool, BindError> {
        let mut held = self.held();
        let Held::Owned(lock) = &mut *held else { return Ok(false) };
        if lock.is_in_place() {
            return Ok(false);
        }
        let Some(taken) = InstanceLock::try_take(&lock.path)? else {
            return Err(BindError::InUse { path: lock.path.to_string_lossy().into_owned() });
        };
        std::mem::replace(lock, taken).release();
        Ok(true)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // No code that can panic runs between two changes of it.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Released {
    fn drop(&mut self) {
        if let Held::Owned(lock) = self.held.get_mut().unwrap_or_else(PoisonError::into_inner) {
            lock.unlock();
        }
    }
}
