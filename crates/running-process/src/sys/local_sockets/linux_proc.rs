//! The list of sockets from `/proc/net/unix` (`proc_pid_net(5)`).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;

use super::super::types::{ListeningSocket, SocketName, unowned};

/// The flag of a socket that listens (`__SO_ACCEPTCON` in `linux/net.h`).
const LISTENING: u32 = 1 << 16;

pub(super) fn listening_sockets() -> io::Result<Vec<ListeningSocket>> {
    let mut lines = BufReader::new(File::open("/proc/thread-self/net/unix")?);
    let (mut sockets, mut line) = (Vec::new(), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        sockets.extend(listening_socket(line.strip_suffix(b"\n").unwrap_or(&line)));
        line.clear();
    }
    Ok(sockets)
}

/// Returns the socket of a line, if it listens. The line has seven fields and the name, which may contain anything.
fn listening_socket(line: &[u8]) -> Option<ListeningSocket> {
    let mut rest = line;
    let mut field = || {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (field, after) = rest.split_at(end);
        rest = after;
        str::from_utf8(field).ok()
    };
    let (_number, _references, _protocol) = (field()?, field()?, field()?);
    let flags = u32::from_str_radix(field()?, 16).ok()?;
    let (_kind, _state) = (field()?, field()?);
    let inode = field()?.parse().ok()?;
    let name = match rest.strip_prefix(b" ") {
        None | Some([]) => SocketName::Unnamed,
        // A NUL is written as `@`, also one within the name.
        Some([b'@', name @ ..]) => SocketName::Abstract(name.to_vec()),
        Some(path) => SocketName::Path(OsStr::from_bytes(path).into()),
    };
    (flags & LISTENING != 0).then(|| unowned(name, inode, None, None, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_the_flag_of_listening_is_a_socket_whatever_its_name() {
        let line = |flags: &str, name: &[u8]| {
            let mut line = format!("0000000000000000: 00000002 00000000 {flags} 0001 01  4711").into_bytes();
            line.extend(name);
            listening_socket(&line)
        };
        let named = |name: &[u8]| line("00010000", name).unwrap().name;
        assert_eq!(line("00010000", b" /run/a b").unwrap().inode, 4711);
        assert_eq!(named(b" /run/a b"), SocketName::Path("/run/a b".into()));
        assert_eq!(named(b"  /blank"), SocketName::Path(" /blank".into()));
        assert_eq!(named(b" /\xff"), SocketName::Path(OsStr::from_bytes(b"/\xff").into()));
        assert_eq!(named(b" @abstract@"), SocketName::Abstract(b"abstract@".to_vec()));
        assert_eq!(named(b""), SocketName::Unnamed);
        assert_eq!(line("00000000", b" /run/connected"), None);
        assert_eq!(listening_socket(b"Num       RefCount Protocol Flags    Type St Inode Path"), None);
        assert_eq!(listening_socket(b""), None);
    }
}
