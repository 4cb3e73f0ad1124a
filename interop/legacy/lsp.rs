//! The Language Server Protocol as the legacy wire: each connection gets a server process of its own, which speaks on its
//! standard input and output.
//!
//! `legacy-lsp SOCKET IDENTITY_FILE COMMAND...` serves until standard input ends.

use std::error::Error;
use std::io::{self, Read, Write, stdin};
use std::process::{Command, Stdio};

use running_process::broker::backend_sdk::LegacyConnection;
use running_process::{Endpoint, LegacyClassification, Server};

running_process::register_payload_protocol! {
    /// A response is its request after `pong:`, as those of the peers.
    const PING: u32 = 0x7A63;
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file, program, options @ ..] = &arguments[..] else {
        return Err("usage: legacy-lsp SOCKET FILE COMMAND...".into());
    };
    let (program, options) = (program.clone(), options.to_vec());
    let server = Server::bind(Endpoint::unix_socket("legacy", socket)?)?
        .identity_file(identity_file)
        .serve_inline(PING, |request| Ok([b"pong:", request.payload()].concat()))
        .legacy(
            |_| LegacyClassification::NotLegacy,
            move |connection| {
                let mut command = Command::new(&program);
                if let Err(error) = bridge(command.args(&options), connection) {
                    eprintln!("a connection failed: {error}");
                }
            },
        )
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // An error means the same as the end: the other end is closed.
        let _end = stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    Ok(server.run()?)
}

/// Copies in both directions between the connection and a new process, until that has ended.
fn bridge(command: &mut Command, connection: LegacyConnection) -> io::Result<()> {
    let (start, stream) = connection.into_parts()?;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut input, mut output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    std::thread::scope(|scope| {
        let (mut client, mut to_client) = (&stream, &stream);
        scope.spawn(move || {
            // An error means that the process or the client is gone, which the other direction sees as well.
            let _gone = input.write_all(&start).and_then(|()| io::copy(&mut client, &mut input));
        });
        let copied = io::copy(&mut output, &mut to_client);
        // The client ends the other direction, which may have ended already.
        let _gone = stream.shutdown_write();
        copied
    })?;
    let status = child.wait()?;
    println!("a server process ended: {status}");
    Ok(())
}
