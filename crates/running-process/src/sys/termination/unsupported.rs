//! Systems whose requests to end are not handled.

use std::io;

pub(super) fn enable(_first: bool) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "signals are not handled on this system"))
}

pub(super) fn disable() {}
