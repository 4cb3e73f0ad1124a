//! Reading an instance id.

use super::error::IdentityError;
use super::origin::INSTANCE_ID_BYTES;

/// Reads an instance id from the wire; returns `None` if the field is absent.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Option<[u8; INSTANCE_ID_BYTES]>, IdentityError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = bytes.try_into().map_err(|_| IdentityError::InstanceIdLength { length: bytes.len() })?;
    Ok(Some(id))
}

/// Reads an instance id of 32 hexadecimal digits of either case.
#[cfg(feature = "host")]
pub(super) fn from_digits(digits: &str) -> Result<[u8; INSTANCE_ID_BYTES], IdentityError> {
    let malformed = || IdentityError::InstanceIdDigits { found: digits.to_owned() };
    // A sign is no digit, although the parser of numbers accepts one.
    if digits.len() != 2 * INSTANCE_ID_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    u128::from_str_radix(digits, 16).map(u128::to_be_bytes).map_err(|_| malformed())
}
