//! The processes that have a socket open, from `/proc/PID/fd`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use rustix::io::{Errno, retry_on_intr};

use super::super::types::{ListeningSocket, ProcessDescription};
use crate::sys::{ProcessHandle, own_pid_namespace};

/// The inode of the first pid namespace (`PROC_PID_INIT_INO` in `linux/proc_ns.h`), which has all processes.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Room for the text of a link to a socket, such as `socket:[4711]`. A longer text is that of another file.
const LINK_BYTES: usize = 32;
/// Room for some hundred entries of a directory.
const ENTRIES_BYTES: usize = 16 * 1024;

/// Adds to each socket the processes that have it, as far as they are found before `deadline`.
pub(in super::super) fn find_owners(sockets: &mut [ListeningSocket], deadline: Instant) {
    let by_inode: HashMap<u64, usize> =
        sockets.iter().enumerate().map(|(index, socket)| (socket.inode, index)).collect();
    let mut search = Search { by_inode, entries: vec![MaybeUninit::uninit(); ENTRIES_BYTES] };
    let all = search.run(deadline, |index, owner| {
        if let Some(socket) = sockets.get_mut(index) {
            socket.owners.push(owner);
        }
    });
    for socket in sockets {
        socket.owners.sort_by_key(|owner| owner.pid);
        socket.has_all_owners = matches!(all, Ok(true));
    }
}

struct Search {
    /// The index of each socket by its inode.
    by_inode: HashMap<u64, usize>,
    entries: Vec<MaybeUninit<u8>>,
}

impl Search {
    /// Passes each owner of a socket to `found`. Returns whether every process that can be one was looked at.
    fn run(
        &mut self,
        deadline: Instant,
        mut found: impl FnMut(usize, ProcessDescription),
    ) -> io::Result<bool> {
        // The numbers in the `/proc` of another pid namespace mean other processes here.
        if fs::read_link("/proc/self")? != Path::new(&std::process::id().to_string()) {
            return Ok(false);
        }
        let mut all = own_pid_namespace()? == Some(FIRST_PID_NAMESPACE);
        // If processes of other users are hidden, the first one is.
        let mut shows_first = false;
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if Instant::now() >= deadline {
                return Ok(false);
            }
            shows_first |= pid == 1;
            match self.sockets_of(pid) {
                Ok(None) => {}
                Ok(Some((owner, indices))) => {
                    for index in indices {
                        found(index, owner.clone());
                    }
                }
                Err(_) => all = false,
            }
        }
        Ok(all && shows_first)
    }

    /// Returns the sockets that the process `pid` has; `None` if there are none, or if the process has exited.
    ///
    /// The handle is opened first, and alive after the reads. So the number meant one process meanwhile.
    fn sockets_of(&mut self, pid: u32) -> io::Result<Option<(ProcessDescription, Vec<usize>)>> {
        let Some(process) = ProcessHandle::open(pid)? else { return Ok(None) };
        let read = self
            .sockets_in(&format!("/proc/{pid}"))
            .map(|indices| (!indices.is_empty()).then(|| (ProcessDescription::of(&process), indices)));
        if process.has_exited()? { Ok(None) } else { read }
    }

    fn sockets_in(&mut self, process: &str) -> io::Result<Vec<usize>> {
        let mut indices = Vec::new();
        let any = self.read_descriptors(format!("{process}/fd"), &mut indices)?;
        if !any {
            // The first thread of the process may have ended: then the descriptors are those of the others.
            for thread in fs::read_dir(format!("{process}/task"))? {
                let descriptors = thread?.path().join("fd");
                if self.read_descriptors(descriptors, &mut indices)? {
                    break;
                }
            }
        }
        indices.sort_unstable();
        indices.dedup();
        Ok(indices)
    }

    /// Appends the sockets among the descriptors in `directory`. Returns whether it has any descriptor.
    fn read_descriptors(
        &mut self,
        directory: impl AsRef<Path>,
        indices: &mut Vec<usize>,
    ) -> io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match retry_on_intr(|| openat(CWD, directory.as_ref(), flags, Mode::empty())) {
            // The process or thread has ended.
            Err(Errno::NOENT | Errno::SRCH) => return Ok(false),
            opened => opened?,
        };
        let mut any = false;
        let mut entries = RawDir::new(&directory, &mut self.entries);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(b".") {
                continue;
            }
            any = true;
            let mut link = [MaybeUninit::uninit(); LINK_BYTES];
            match readlinkat_raw(&directory, entry.file_name(), &mut link) {
                Ok((link, _)) => {
                    indices.extend(socket_inode(link).and_then(|inode| self.by_inode.get(&inode)));
                }
                // Closed since the listing.
                Err(Errno::NOENT | Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(any)
    }
}

/// Returns the inode in the text of a link such as `socket:[4711]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    str::from_utf8(link).ok()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
