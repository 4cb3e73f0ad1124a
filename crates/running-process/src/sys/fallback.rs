//! Systems without an implementation: everything is answered, and the answer is "unsupported".

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use super::OwnImage;

fn unsupported<T>(what: &'static str) -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, what))
}

pub(super) fn boot_id() -> io::Result<String> {
    unsupported("this system has no boot id")
}

pub(super) fn own_image() -> io::Result<OwnImage> {
    let path = std::env::current_exe()?;
    let file = File::open(&path)?;
    Ok(OwnImage { path, file })
}

pub(super) fn own_start_time() -> io::Result<u64> {
    unsupported("this system does not tell when a process was started")
}

// The portable surface has errors here.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn own_pid_namespace() -> io::Result<Option<u64>> {
    Ok(None)
}

pub(super) fn process_image(process: &ProcessHandle) -> io::Result<PathBuf> {
    match *process {}
}

/// No value of this type exists: opening one fails.
#[derive(Debug)]
pub(super) enum ProcessHandle {}

impl ProcessHandle {
    pub(super) fn open(_pid: u32) -> io::Result<Option<Self>> {
        unsupported("this system has no handles to processes")
    }

    pub(super) fn pid(&self) -> u32 {
        match *self {}
    }

    pub(super) fn has_exited(&self) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn wait_exit(&self, _deadline: Option<Instant>) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn terminate(&self) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn kill(&self) -> io::Result<()> {
        match *self {}
    }
}
