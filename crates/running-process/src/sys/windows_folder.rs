//! The directory for this user's data on this machine.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::path::PathBuf;
use std::ptr;

use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::System::LibraryLoader::{
    GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW,
};
use windows_sys::core::{GUID, HRESULT, PWSTR};
use windows_sys::{s, w};

/// `FOLDERID_LocalAppData`, the known folder that `%LOCALAPPDATA%` names.
const LOCAL_APP_DATA: GUID = GUID::from_u128(0xf1b3_2785_6fba_4fcf_9d55_7b8e_7f15_7091);

/// The type of the function `SHGetKnownFolderPath`.
type KnownFolderPath =
    unsafe extern "system" fn(*const GUID, u32, *mut std::ffi::c_void, *mut PWSTR) -> HRESULT;

/// Returns the directory for data of this user that stay on this machine, usually `C:\Users\NAME\AppData\Local`. The environment
/// changes nothing.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if the user has no such directory, as some service accounts.
pub(crate) fn home_directory() -> io::Result<PathBuf> {
    let missing = |code: HRESULT| {
        let message =
            format!("the system tells no directory for local data of this user (error {code:#010x})");
        io::Error::new(io::ErrorKind::NotFound, message)
    };
    let known_folder_path = known_folder_path()?;
    let mut path = ptr::null_mut();
    // SAFETY: the function has this type; no token means this user, and both places outlive the call.
    let result = unsafe { known_folder_path(&LOCAL_APP_DATA, 0, ptr::null_mut(), &raw mut path) };
    let found = if result < 0 || path.is_null() {
        Err(missing(result))
    } else {
        // SAFETY: the function has succeeded, so this is a string that ends in NUL.
        Ok(PathBuf::from(unsafe { up_to_nul(path) }))
    };
    // SAFETY: the caller frees the memory in any case, and nothing uses it afterwards.
    unsafe { CoTaskMemFree(path.cast_const().cast()) };
    found
}

/// Loads the function with its library when it is first needed: the library takes milliseconds.
fn known_folder_path() -> io::Result<KnownFolderPath> {
    // SAFETY: the name ends in NUL. The library is the system's own, is never unloaded, and may be loaded by any thread.
    let library = unsafe { LoadLibraryExW(w!("shell32.dll"), ptr::null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
    if library.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the library is loaded and the name ends in NUL.
    let function = unsafe { GetProcAddress(library, s!("SHGetKnownFolderPath")) };
    let Some(function) = function else { return Err(io::Error::last_os_error()) };
    // SAFETY: the function of this name has this type.
    Ok(unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, KnownFolderPath>(function) })
}

/// # Safety
///
/// `text` ends in NUL and does not change during the call.
unsafe fn up_to_nul(text: PWSTR) -> OsString {
    let mut length = 0;
    // SAFETY: no unit before the NUL is beyond the string.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: the string has that many units.
    OsString::from_wide(unsafe { std::slice::from_raw_parts(text, length) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_absolute_and_there() {
        let home = home_directory().unwrap();
        assert!(home.is_absolute() && home.is_dir(), "{}", home.display());
    }
}
