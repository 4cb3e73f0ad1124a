//! The daemon behind a front.

use super::digests::ExeDigest;
use std::path::PathBuf;

/// A daemon to which another one, its front, relays the legacy wire. It runs on the machine of its front, in the same boot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrontedProcess {
    /// The process id, as the front sees it.
    pub pid: u32,
    /// The time at which the kernel started the process, in the unit of [`Origin`](super::Origin::start_time).
    pub start_time: u64,
    /// The path of the executable.
    pub exe_path: PathBuf,
    /// BLAKE3 of the executable file.
    pub exe_blake3: ExeDigest,
}

#[cfg(all(test, feature = "host"))]
mod tests {
    use super::*;
    use crate::broker::backend_lifecycle::identity::DaemonProcess;
    use crate::broker::backend_lifecycle::judge::{CheckKind, compare};
    use crate::broker::protocol::{self, Endpoint};
    use prost::Message;

    fn front(exe_path: PathBuf) -> DaemonProcess {
        let message = protocol::DaemonProcess {
            pid: 7,
            exe_path: "/bin/front".to_owned(),
            exe_sha256: vec![1; 32],
            boot_id: "boot".to_owned(),
            ipc_endpoint: Some(Endpoint { namespace_id: "n".to_owned(), path: "/run/s".to_owned() }),
            ..Default::default()
        };
        let front = DaemonProcess::try_from(message).expect("a complete identity");
        front.fronting(FrontedProcess { pid: 8, start_time: 9, exe_path, exe_blake3: [3; 32] })
    }

    #[test]
    fn a_fronted_daemon_is_the_same_after_the_wire_and_the_file() {
        let paths = [
            PathBuf::from("/bin/redis"),
            #[cfg(unix)]
            <std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(b"/bin/\xff".to_vec()).into(),
        ];
        for path in paths {
            let front = front(path);
            assert_eq!(DaemonProcess::decode(&front.encode()).unwrap(), front);
            let json = serde_json::to_string(&front).unwrap();
            assert_eq!(serde_json::from_str::<DaemonProcess>(&json).unwrap(), front);
        }
    }

    #[test]
    fn a_fronted_daemon_without_a_process_or_an_executable_is_refused_on_the_wire_and_in_the_file() {
        let whole = front("/bin/redis".into());
        let without = |change: fn(&mut FrontedProcess)| {
            let mut front = whole.clone();
            change(front.fronts.as_mut().expect("it is a front"));
            let json = serde_json::to_string(&front).unwrap();
            let in_file = serde_json::from_str::<DaemonProcess>(&json).unwrap_err().to_string();
            (DaemonProcess::decode(&front.encode()).unwrap_err().to_string(), in_file)
        };
        for (field, change) in [
            ("pid", (|fronted| fronted.pid = 0) as fn(&mut FrontedProcess)),
            ("exe_path", |fronted| fronted.exe_path = PathBuf::new()),
        ] {
            let (on_wire, in_file) = without(change);
            assert_eq!(on_wire, format!("identity has no fronts.{field}"));
            assert!(in_file.contains(&on_wire), "{in_file}");
        }
    }

    #[test]
    fn published_peers_read_the_identity_of_a_front() {
        let front = front("/bin/redis".into());
        let published = protocol::DaemonProcess::decode(&*front.encode()).unwrap();
        assert_eq!(published, front.to_proto());
    }

    #[test]
    fn another_fronted_daemon_does_not_agree() {
        let (expected, mut found) = (front("/bin/redis".into()), front("/bin/redis".into()));
        assert!(compare(&expected, &found).iter().all(|check| check.agrees));
        for fronts in [None, front("/bin/other".into()).fronts] {
            found.fronts = fronts;
            let refused: Vec<_> =
                compare(&expected, &found).into_iter().filter(|check| !check.agrees).collect();
            assert_eq!(refused.len(), 1);
            assert_eq!(refused[0].kind, CheckKind::Fronted);
            assert!(refused[0].expected.starts_with("process 8, started "), "{}", refused[0]);
        }
    }
}
