//! A name of this machine.

#![cfg_attr(not(any(target_os = "linux", target_os = "android")), allow(unsafe_code))]

use std::io;

#[cfg(unix)]
mod host {
    use std::io;

    pub(super) fn host_name() -> io::Result<Vec<u8>> {
        let name = rustix::system::uname().nodename().to_bytes().to_vec();
        if name.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "this machine has neither an id nor a host name",
            ));
        }
        Ok(name)
    }
}

/// Returns bytes that name this machine among those that share a file system: the same for every process and boot.
///
/// # Platform-specific behavior
///
/// On Linux the id in `/etc/machine-id` (32 hexadecimal digits), on FreeBSD `kern.hostuuid`, on macOS `gethostuuid(2)`, on
/// Windows the `MachineGuid` in the registry. A machine without one is named by its host name, in which containers of one image
/// differ.
///
/// # Errors
///
/// The system tells neither.
pub(crate) fn machine_id() -> io::Result<Vec<u8>> {
    imp::machine_id()
}

#[cfg(all(unix, not(any(target_os = "macos", target_os = "freebsd"))))]
mod imp {
    use std::fs::File;
    use std::io::{self, Read};

    use super::host::host_name;

    /// Digits of an id (machine-id(5)).
    const DIGITS: usize = 32;

    pub(super) fn machine_id() -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        // A file that cannot be read is as good as none.
        if let Ok(file) = File::open("/etc/machine-id") {
            let _unreadable = file.take(64).read_to_end(&mut content);
        }
        match valid(&content) {
            Some(id) => Ok(id.to_ascii_lowercase()),
            None => host_name(),
        }
    }

    /// Returns the id in the content of the file. The file is empty or says "uninitialized" until an id was chosen.
    pub(super) fn valid(content: &[u8]) -> Option<&[u8]> {
        let id = content.trim_ascii_end();
        let all_zero = || id.iter().all(|digit| *digit == b'0');
        (id.len() == DIGITS && id.iter().all(u8::is_ascii_hexdigit) && !all_zero()).then_some(id)
    }
}

#[cfg(target_os = "freebsd")]
mod imp {
    use std::io;
    use std::ptr;

    use super::host::host_name;

    /// Bytes of an id as text, and its NUL (`kern.hostuuid` in `jail(8)`).
    const LENGTH: usize = 64;

    pub(super) fn machine_id() -> io::Result<Vec<u8>> {
        let mut id = [0_u8; LENGTH];
        let mut size = id.len();
        // SAFETY: the name ends in NUL, the output buffer is `id`, exclusively borrowed and `size` bytes long, and no new value is
        // set.
        let result = unsafe {
            libc::sysctlbyname(
                c"kern.hostuuid".as_ptr(),
                id.as_mut_ptr().cast(),
                &raw mut size,
                ptr::null_mut(),
                0,
            )
        };
        let id = id[..size.min(LENGTH)].split(|byte| *byte == 0).next().unwrap_or_default();
        let is_set = id.iter().any(|digit| !matches!(digit, b'0' | b'-'));
        if result == 0 && is_set { Ok(id.to_vec()) } else { host_name() }
    }
}

#[cfg(target_os = "macos")]
mod imp {
    use std::io;

    use super::host::host_name;

    pub(super) fn machine_id() -> io::Result<Vec<u8>> {
        let mut id = [0_u8; 16];
        let wait = libc::timespec { tv_sec: 1, tv_nsec: 0 };
        // SAFETY: an id has 16 bytes (`uuid_t`), and both places outlive the call.
        match unsafe { libc::gethostuuid(id.as_mut_ptr(), &raw const wait) } {
            0 if id != [0; 16] => Ok(id.to_vec()),
            _ => host_name(),
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use std::ptr;

    use windows_sys::Win32::System::Registry::{
        HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RRF_SUBKEY_WOW6464KEY, RegGetValueW,
    };
    use windows_sys::Win32::System::SystemInformation::{ComputerNamePhysicalNetBIOS, GetComputerNameExW};
    use windows_sys::w;

    pub(super) fn machine_id() -> io::Result<Vec<u8>> {
        guid().map_or_else(computer_name, Ok)
    }

    /// Returns the id that was chosen when the system was installed.
    fn guid() -> Option<Vec<u8>> {
        let mut text = [0_u16; 64];
        let mut size = u32::try_from(size_of_val(&text)).ok()?;
        // Without the flag a 32-bit process would look into another part of the registry.
        let flags = RRF_RT_REG_SZ | RRF_SUBKEY_WOW6464KEY;
        // SAFETY: the names end in NUL, the buffer is exclusively borrowed and `size` bytes long, and the type is not wanted.
        let result = unsafe {
            RegGetValueW(
                HKEY_LOCAL_MACHINE,
                w!("SOFTWARE\\Microsoft\\Cryptography"),
                w!("MachineGuid"),
                flags,
                ptr::null_mut(),
                text.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        (result == 0).then(|| up_to_nul(&text)).filter(|id| !id.is_empty())
    }

    fn computer_name() -> io::Result<Vec<u8>> {
        let mut name = [0_u16; 256];
        let mut length = 256;
        // SAFETY: the buffer is exclusively borrowed and has the given length.
        if unsafe { GetComputerNameExW(ComputerNamePhysicalNetBIOS, name.as_mut_ptr(), &raw mut length) } == 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(up_to_nul(&name))
    }

    fn up_to_nul(text: &[u16]) -> Vec<u8> {
        let text = text.split(|unit| *unit == 0).next().unwrap_or_default();
        String::from_utf16_lossy(text).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_the_same_name_twice() {
        let id = machine_id().unwrap();
        assert!(!id.is_empty());
        assert_eq!(machine_id().unwrap(), id);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn only_an_initialized_id_is_valid() {
        let id = "0123456789abcdef0123456789ABCDEF";
        let with_newline = format!("{id}\n");
        assert_eq!(imp::valid(with_newline.as_bytes()), Some(id.as_bytes()));
        assert_eq!(imp::valid(id.as_bytes()), Some(id.as_bytes()));
        let zeros = "0".repeat(32);
        let long = format!("{id}0");
        for invalid in
            ["", "\n", "uninitialized\n", &id[1..], &long, &zeros, "0123456789abcdef 123456789abcdef\n"]
        {
            assert_eq!(imp::valid(invalid.as_bytes()), None, "{invalid:?}");
        }
    }
}
