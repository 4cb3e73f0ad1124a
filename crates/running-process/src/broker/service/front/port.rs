//! The process that listens at a port: the kernel names none to its clients, so `/proc` is asked.

use crate::sys::{ProcessHandle, session_of};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens (`TCP_LISTEN` in `net/tcp_states.h`).
const LISTEN: &str = "0A";

/// Returns a process that listens at `address`, preferably one of the session `session`; `None` if `/proc` names none, for example
/// because it is another user's.
pub(super) fn listener_of(address: SocketAddr, session: Option<u32>) -> io::Result<Option<ProcessHandle>> {
    let sockets = sockets_of(address, ["/proc/net/tcp", "/proc/net/tcp6"])?;
    let mut stranger = None;
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let is_own = session.is_some() && session_of(pid) == session;
        if !is_own && stranger.is_some() {
            continue;
        }
        // The handle is opened first, so the number means this process if that is alive afterwards.
        let Some(process) = ProcessHandle::open(pid)? else { continue };
        if has_one_of(pid, &sockets) && !process.has_exited()? {
            if is_own {
                return Ok(Some(process));
            }
            stranger = Some(process);
        }
    }
    Ok(stranger)
}

/// Returns the names in `/proc/PID/fd` of the sockets that listen at `address`, as the tables of IPv4 and of IPv6 tell.
fn sockets_of(address: SocketAddr, [ipv4, ipv6]: [&str; 2]) -> io::Result<Vec<String>> {
    // A kernel may have no IPv6.
    let tables = [fs::read_to_string(ipv4)?, fs::read_to_string(ipv6).unwrap_or_default()];
    let inodes = tables.iter().flat_map(|table| listening(table, address));
    Ok(inodes.map(|inode| format!("socket:[{inode}]")).collect())
}

/// Returns whether the process has one of the sockets open; `false` also if this user may not know.
fn has_one_of(pid: u32, sockets: &[String]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|link| link.to_str().is_some_and(|link| sockets.iter().any(|socket| socket == link)))
}

/// Returns the inodes of the sockets in `table`, in the form of `/proc/net/tcp` (`proc_pid_net(5)`), that listen at `address`.
fn listening(table: &str, address: SocketAddr) -> impl Iterator<Item = &str> {
    table.lines().filter_map(move |line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (local, port) = fields.get(1)?.split_once(':')?;
        let listens = fields.get(3) == Some(&LISTEN) && u16::from_str_radix(port, 16).ok()? == address.port();
        if listens && takes(parsed(local)?, address.ip()) { fields.get(9).copied() } else { None }
    })
}

/// Returns whether a socket that is bound to `local` takes connections to `address`.
fn takes(local: IpAddr, address: IpAddr) -> bool {
    local.to_canonical() == address
        || local == Ipv6Addr::UNSPECIFIED
        || (local.is_unspecified() && address.is_ipv4())
}

/// Returns the address of digits in the form of `/proc/net/tcp`: words of 32 bits in the order of this machine.
fn parsed(digits: &str) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    for (index, word) in bytes.chunks_mut(4).enumerate().take(digits.len() / 8) {
        let digits = digits.get(8 * index..8 * (index + 1))?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    match digits.len() {
        8 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        32 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_sockets_that_take_connections_to_an_address_are_found() {
        let line = |local: &str, state: &str, inode: &str| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000 0 {inode} 1 0 100 0 0 10 0\n"
            )
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n".to_owned(),
            line("0100007F:18EB", "0A", "11"),
            line("0100007F:18EB", "01", "12"),
            line("0100007F:18EC", "0A", "13"),
            line("00000000:18EB", "0A", "14"),
            line("0200007F:18EB", "0A", "15"),
            line("00000000000000000000000000000000:18EB", "0A", "16"),
            line("00000000000000000000000001000000:18EB", "0A", "17"),
            line("0000000000000000FFFF00000100007F:18EB", "0A", "18"),
        ]
        .concat();
        let found = |address: &str| listening(&table, address.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(found("127.0.0.1:6379"), ["11", "14", "16", "18"]);
        assert_eq!(found("[::1]:6379"), ["16", "17"]);
        assert_eq!(found("127.0.0.1:6381"), [""; 0]);
    }

    #[test]
    fn the_process_that_listens_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let named = |session| listener_of(address, session).unwrap().map(|process| process.pid());
        assert_eq!(named(None), Some(std::process::id()));
        assert_eq!(named(session_of(std::process::id())), Some(std::process::id()));
        drop(listener);
        assert_eq!(named(None), None);
    }

    #[test]
    fn a_kernel_without_ipv6_names_the_sockets_of_ipv4() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let found = |tables| sockets_of(listener.local_addr().unwrap(), tables);
        for ipv6 in ["/proc/net/tcp6", "/proc/net/none"] {
            let sockets = found(["/proc/net/tcp", ipv6]).unwrap();
            assert!(sockets.iter().any(|socket| link == Path::new(socket)), "{link:?} {sockets:?}");
        }
        found(["/proc/net/none", "/proc/net/tcp6"]).unwrap_err();
    }
}
