//! Linux: `NETLINK_SOCK_DIAG`, else `/proc/net/unix`; owners from `/proc`.

#[path = "linux_diag.rs"]
mod diag;
#[path = "linux_owners.rs"]
mod owners;
#[path = "linux_proc.rs"]
mod proc;

pub(super) use owners::find_owners;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::types::{BoundFile, ListeningSocket, ProcessDescription};
use crate::sys::ProcessHandle;

pub(super) fn listening_sockets() -> io::Result<Vec<ListeningSocket>> {
    diag::listening_sockets().or_else(|diag| {
        proc::listening_sockets().map_err(|proc| {
            let both = format!(
                "neither NETLINK_SOCK_DIAG ({diag}) nor /proc/net/unix ({proc}) tells which sockets listen"
            );
            io::Error::new(proc.kind(), both)
        })
    })
}

/// Returns whether `path` leads to the file, as this process looks it up.
pub(super) fn is_at(path: &Path, file: BoundFile) -> Option<bool> {
    match fs::metadata(path) {
        _ if !path.is_absolute() => None,
        Ok(found) => is_file(&found, file),
        Err(error) if is_missing(&error) => Some(false),
        Err(_) => None,
    }
}

/// Returns whether `path` leads to the file, as this process or one of `owners` looks it up.
pub(super) fn is_reachable(path: &Path, file: BoundFile, owners: &[ProcessDescription]) -> Option<bool> {
    if !path.is_absolute() {
        return None;
    }
    let here = is_at(path, file);
    if here == Some(true) {
        return here;
    }
    let mut all_say_no = here == Some(false);
    for owner in owners {
        let standing = ProcessHandle::open(owner.pid).and_then(|process| match process {
            Some(process) => process.standing_at(path),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        match standing {
            Ok(Some(found)) => match is_file(&found, file) {
                Some(true) => return Some(true),
                told => all_say_no &= told.is_some(),
            },
            Ok(None) => {}
            Err(_) => all_say_no = false,
        }
    }
    all_say_no.then_some(false)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns whether `found` is the file; `None` if its file system may show other numbers than the kernel has.
fn is_file(found: &Metadata, file: BoundFile) -> Option<bool> {
    if !found.file_type().is_socket() {
        return Some(false);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the kernel tells the lower half")]
    let inode = found.ino() as u32;
    (found.dev() == file.device).then_some(inode == file.inode)
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    use proptest::prelude::*;

    use super::super::types::SocketName;
    use super::*;

    #[test]
    fn both_lists_have_the_same_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a socket");
        let listener = UnixListener::bind(&path).unwrap();
        let _connected = (UnixStream::connect(&path).unwrap(), listener.accept().unwrap());
        let name = format!("running-process list {}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _abstract = UnixListener::bind_addr(&address).unwrap();

        let own = [SocketName::Path(path), SocketName::Abstract(name.into_bytes())];
        let of_own = |sockets: Vec<ListeningSocket>| {
            let mut own: Vec<_> = sockets
                .into_iter()
                .filter(|socket| own.contains(&socket.name))
                .map(|socket| (socket.inode, socket.name))
                .collect();
            own.sort_unstable();
            own
        };
        let by_netlink = of_own(diag::listening_sockets().unwrap());
        assert_eq!(by_netlink.len(), 2);
        assert_eq!(by_netlink, of_own(proc::listening_sockets().unwrap()));
    }

    proptest! {
        #[test]
        fn no_answer_of_a_kernel_is_too_strange(bytes in any::<Vec<u8>>(), kind in 0..4_u16) {
            let mut message = Vec::new();
            message.extend((u32::try_from(bytes.len()).unwrap() + 16).to_ne_bytes());
            message.extend([20, 3, 2, kind][usize::from(kind)].to_ne_bytes());
            message.resize(16, 0);
            message.extend(&bytes);
            let mut sockets = Vec::new();
            let _or_error = diag::append(&message, &mut sockets);
            let _or_error = diag::append(&bytes, &mut sockets);
            prop_assert!(sockets.len() <= 1);
        }
    }
}
