//! The client library pygls at a daemon whose legacy wire is that of a language server.

use super::{Daemon, Program, beside_framed_clients, bounded, output, script};
use crate::support::skip::{installed, wheels};

#[test]
fn editors_share_a_daemon_that_gives_each_a_language_server_beside_framed_clients() {
    let Some(programs) = wheels("INTEROP_CLIENTS") else { return };
    if !installed("socat") {
        return;
    }
    let daemon = Daemon::start_with(Program::Legacy("lsp"), &[&programs.join("pylsp")]);
    let socket = daemon.socket();
    let edit = || output(bounded(programs.join("python3")).arg(script("lsp.py")).arg(&socket));
    beside_framed_clients(&daemon.identity_file(), || {
        std::thread::scope(|scope| {
            for editor in [scope.spawn(edit), scope.spawn(edit)] {
                assert_eq!(editor.join().unwrap(), "pylsp\ndump dumps\nNone\n");
            }
        });
    });
    daemon.stop();
}
