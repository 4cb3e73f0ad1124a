//! A security descriptor that admits one user.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACL, ACL_REVISION, AddAccessAllowedAce, GetLengthSid, GetTokenInformation,
    InitializeAcl, InitializeSecurityDescriptor, SECURITY_ATTRIBUTES, SECURITY_DESCRIPTOR,
    SetSecurityDescriptorDacl, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::Storage::FileSystem::FILE_ALL_ACCESS;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// `SECURITY_DESCRIPTOR_REVISION` in `winnt.h`.
const DESCRIPTOR_REVISION: u32 = 1;

/// A security descriptor that gives all rights to the user of this process, and none to others.
pub(super) struct CurrentUserOnly {
    descriptor: Box<SECURITY_DESCRIPTOR>,
    /// The descriptor points into this list, so it is allocated once and never changed or moved. Its unit is eight
    /// bytes, for alignment.
    _list: Vec<u64>,
}

impl CurrentUserOnly {
    pub(super) fn new() -> io::Result<Self> {
        let user = current_user()?;
        // SAFETY: `current_user` returns a `TOKEN_USER` at the start of an aligned buffer, and its SID points into that
        // buffer, which outlives this function.
        let sid = unsafe { (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid };
        // SAFETY: `sid` is a valid SID.
        let sid_bytes = unsafe { GetLengthSid(sid) } as usize;
        // The SID starts in the last four bytes of the entry; rounding up to eight bytes covers the rest.
        let list_bytes = (size_of::<ACL>() + size_of::<ACCESS_ALLOWED_ACE>() + sid_bytes).next_multiple_of(8);
        let mut list = vec![0u64; list_bytes / 8];
        let acl = list.as_mut_ptr().cast::<ACL>();
        let length = u32::try_from(list_bytes).unwrap_or(0);
        // SAFETY: `acl` is aligned, exclusively borrowed and `length` bytes long.
        check(unsafe { InitializeAcl(acl, length, ACL_REVISION) })?;
        // SAFETY: `acl` has been initialised, and `sid` is a valid SID, which is copied.
        check(unsafe { AddAccessAllowedAce(acl, ACL_REVISION, FILE_ALL_ACCESS, sid) })?;
        let mut descriptor = Box::new(SECURITY_DESCRIPTOR::default());
        let target = (&raw mut *descriptor).cast::<c_void>();
        // SAFETY: `target` is a descriptor that is exclusively borrowed.
        check(unsafe { InitializeSecurityDescriptor(target, DESCRIPTOR_REVISION) })?;
        // SAFETY: `target` has been initialised; it keeps a pointer to `acl`, which lives as long in the same value.
        check(unsafe { SetSecurityDescriptorDacl(target, 1, acl, 0) })?;
        Ok(Self { descriptor, _list: list })
    }

    /// Returns attributes for a call that creates an object. They point to this value and must not outlive it.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
            lpSecurityDescriptor: ptr::from_ref(&*self.descriptor).cast_mut().cast(),
            bInheritHandle: 0,
        }
    }
}

/// Returns the `TOKEN_USER` of this process, in a buffer of whole eight-byte units.
fn current_user() -> io::Result<Vec<u64>> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: the pseudo handle of this process is always valid, and `token` receives a handle.
    check(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &raw mut token) })?;
    // SAFETY: the call succeeded, so the handle is open; no other code owns it.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    let mut bytes = 0;
    // SAFETY: with no buffer the call only tells the size that is needed, and fails.
    unsafe { GetTokenInformation(token.as_raw_handle(), TokenUser, ptr::null_mut(), 0, &raw mut bytes) };
    if (bytes as usize) < size_of::<TOKEN_USER>() {
        return Err(io::Error::last_os_error());
    }
    let mut buffer = vec![0u64; (bytes as usize).div_ceil(8)];
    // SAFETY: the buffer is aligned, exclusively borrowed and at least `bytes` bytes long.
    check(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buffer.as_mut_ptr().cast(),
            bytes,
            &raw mut bytes,
        )
    })?;
    Ok(buffer)
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
