//! The identity of the process that runs this code.

use super::{DaemonProcess, ExeDigests, IdentityError};
use crate::broker::protocol::Endpoint;
use crate::sys;
use sha2::Digest;
use std::io::{self, Read};
use std::time::SystemTime;

/// How much of an executable is in memory while it is digested, in bytes.
const DIGEST_BUFFER_BYTES: usize = 128 * 1024;

impl DaemonProcess {
    /// The identity of this process, which listens on `ipc_endpoint`.
    ///
    /// Reads the executable once, for both digests; where the platform allows it, the image that this process runs,
    /// even if another file has taken its path since.
    ///
    /// # Errors
    ///
    /// The executable cannot be read or the operating system does not tell which boot this is.
    pub fn current_process(
        ipc_endpoint: Endpoint,
        idle_timeout_secs: Option<u32>,
    ) -> Result<Self, IdentityError> {
        let image = sys::own_image().map_err(IdentityError::Executable)?;
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|_| IdentityError::ClockBeforeEpoch)?;
        Ok(Self {
            pid: std::process::id(),
            exe_path: image.path,
            exe_digests: digest(image.file).map_err(IdentityError::Executable)?,
            boot_id: sys::boot_id().map_err(IdentityError::BootId)?,
            ipc_endpoint,
            started_at_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
            idle_timeout_secs,
        })
    }
}

/// Both digests in one pass.
fn digest(mut file: impl Read) -> io::Result<ExeDigests> {
    let mut sha256 = sha2::Sha256::new();
    let mut blake3 = blake3::Hasher::new();
    let mut buffer = vec![0; DIGEST_BUFFER_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                sha256.update(&buffer[..length]);
                blake3.update(&buffer[..length]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ExeDigests::Both { sha256: sha256.finalize().into(), blake3: blake3.finalize().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_digests_are_the_published_ones_of_abc() {
        let digests = digest(&b"abc"[..]).unwrap();
        let sha256 = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let blake3 = hex("6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85");
        assert_eq!(digests, ExeDigests::Both { sha256, blake3 });
    }

    fn hex(digits: &str) -> [u8; 32] {
        std::array::from_fn(|index| u8::from_str_radix(&digits[2 * index..][..2], 16).unwrap())
    }
}
