//! The entry of this process's user in the user database.

#![allow(unsafe_code)]

use std::ffi::{CStr, OsString, c_char};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

/// Bytes for the strings of an entry, tried one after the other. The size of an entry has no limit (`getpwuid_r(3)`).
const SIZES: [usize; 6] = [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20];

/// A user, as `passwd(5)` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserEntry {
    pub name: OsString,
    /// An absolute path, unless the entry says otherwise.
    pub home: PathBuf,
    /// Empty stands for `/bin/sh`.
    pub shell: PathBuf,
}

/// Returns the home directory of the effective user, as the user database tells it. The environment changes nothing.
///
/// # Errors
///
/// As for [`user_entry`]; [`io::ErrorKind::NotFound`] if the entry has no absolute path.
pub(crate) fn home_directory() -> io::Result<PathBuf> {
    let UserEntry { name, home, .. } = user_entry()?;
    if home.is_absolute() {
        return Ok(home);
    }
    let message = format!("user {} has no home directory in the user database", name.display());
    Err(io::Error::new(io::ErrorKind::NotFound, message))
}

/// Returns the entry of the effective user in the user database.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if the user has no entry; otherwise the error of the database.
pub(crate) fn user_entry() -> io::Result<UserEntry> {
    let uid = rustix::process::geteuid().as_raw();
    for size in SIZES {
        match entry_of(uid, &mut vec![0; size]) {
            Err(error) if error.raw_os_error() == Some(libc::ERANGE) => {}
            found => {
                let missing = || format!("user {uid} has no entry in the user database");
                return found?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, missing()));
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the entry in the user database is longer than 1 MiB"))
}

fn entry_of(uid: libc::uid_t, strings: &mut [c_char]) -> io::Result<Option<UserEntry>> {
    let mut entry = MaybeUninit::<libc::passwd>::zeroed();
    let mut found = ptr::null_mut();
    let result = loop {
        // SAFETY: `entry`, `found` and `strings`, which has the given length, are exclusively borrowed.
        let result = unsafe {
            libc::getpwuid_r(uid, entry.as_mut_ptr(), strings.as_mut_ptr(), strings.len(), &raw mut found)
        };
        if result != libc::EINTR {
            break result;
        }
    };
    // Databases that are not there return one of these instead of no entry (`getpwuid_r(3)`).
    if matches!(result, libc::ENOENT | libc::ESRCH) {
        return Ok(None);
    }
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    if found.is_null() {
        return Ok(None);
    }
    // SAFETY: the call has found an entry, so it has filled the structure.
    let entry = unsafe { entry.assume_init() };
    // SAFETY: each is null or a string that ends in NUL, in `strings`, which nothing changes meanwhile.
    let [name, home, shell] =
        [entry.pw_name, entry.pw_dir, entry.pw_shell].map(|text| unsafe { copied(text) });
    Ok(Some(UserEntry { name, home: home.into(), shell: shell.into() }))
}

/// # Safety
///
/// `text` is null or points to a string that ends in NUL and does not change during the call.
unsafe fn copied(text: *const c_char) -> OsString {
    if text.is_null() {
        return OsString::new();
    }
    // SAFETY: the caller vouches for it.
    OsString::from_vec(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_the_user_is_the_one_that_other_programs_see() {
        let shell = "getent passwd \"$(id -u)\" || awk -F: -v uid=\"$(id -u)\" '$3 == uid' /etc/passwd";
        let output =
            std::process::Command::new("sh").args(["-c", shell]).env("HOME", "/elsewhere").output().unwrap();
        let line = String::from_utf8(output.stdout).unwrap();
        let fields: Vec<&str> = line.trim_end().split(':').collect();
        let [name, _, _, _, _, home, shell] = fields[..] else {
            assert_eq!(user_entry().unwrap_err().kind(), io::ErrorKind::NotFound);
            return;
        };
        let expected = UserEntry { name: name.into(), home: home.into(), shell: shell.into() };
        assert_eq!(user_entry().unwrap(), expected);
        assert_eq!(home_directory().unwrap(), expected.home);
    }

    #[test]
    fn a_buffer_that_is_too_small_is_told_from_a_missing_user() {
        let uid = rustix::process::geteuid().as_raw();
        if entry_of(uid, &mut vec![0; 1 << 12]).unwrap().is_some() {
            assert_eq!(entry_of(uid, &mut [0; 4]).unwrap_err().raw_os_error(), Some(libc::ERANGE));
        }
        assert_eq!(entry_of(4_000_000_123, &mut vec![0; 1 << 12]).unwrap(), None);
    }
}
