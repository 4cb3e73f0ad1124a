//! redis-py at the example cache, and at a real server behind the command `front`.

use super::{beside, bounded, output, script};
use crate::support::Running;
use crate::support::front::{Front, running_process};
use crate::support::skip::{installed, wheels};
use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::read_daemon_identity_file;
use std::path::Path;
use std::process::Command;

/// The payload protocol of the example cache.
const CACHE: u32 = 0xF0CA;

/// Proves the daemon of the identity file.
#[track_caller]
fn prove(identity_file: &Path) -> BackendHandle {
    let identity = read_daemon_identity_file(identity_file).unwrap();
    BackendHandle::probe_with_service("interop", "1", &identity.ipc_endpoint, &identity).unwrap()
}

fn redis_py(programs: &Path, socket: &Path) -> Command {
    let mut command = bounded(programs.join("python3"));
    command.arg(script("redis_py.py")).arg(socket);
    command
}

#[test]
fn redis_py_uses_the_example_cache_beside_framed_requests() {
    let Some(programs) = wheels("INTEROP_CLIENTS") else { return };
    let directory = tempfile::tempdir().unwrap();
    let (socket, identity_file) = (directory.path().join("socket"), directory.path().join("identity.json"));
    let mut serve = running_process();
    let _cache =
        Running::ready(serve.args(["serve", "--socket"]).arg(&socket).arg("--identity").arg(&identity_file));
    let framed = || {
        let mut client = prove(&identity_file).into_client();
        let reply = client.request(CACHE, b"PING".to_vec()).unwrap();
        assert_eq!(reply.payload, b"+PONG\r\n");
    };
    let used = beside(framed, || output(&mut redis_py(&programs, &socket)));
    assert_eq!(used, "used\n");
    let mut client = prove(&identity_file).into_client();
    assert_eq!(client.request(CACHE, b"GET count".to_vec()).unwrap().payload, b"$2\r\n20\r\n");
}

#[test]
fn redis_py_uses_a_real_server_through_a_front_beside_proofs() {
    let Some(programs) = wheels("INTEROP_CLIENTS") else { return };
    if !installed("redis-server") {
        return;
    }
    let front = Front::start(&["redis-server", "--unixsocket", "SOCKET", "--port", "0", "--save", ""]);
    let used = beside(
        || drop(prove(&front.identity_file())),
        || output(redis_py(&programs, &front.socket()).arg("all")),
    );
    assert_eq!(used, "used\n");
}
