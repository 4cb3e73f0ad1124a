//! The test daemon: the legacy wire and the framed lane of [`crate::wire`] on one socket.

use crate::wire::{self, SHOUT};
use running_process::broker::backend_sdk::Server;
use running_process::broker::protocol::Endpoint;
use std::error::Error;
use std::ffi::OsString;
use std::io::Read;

/// Returns the endpoint and the identity file that `SOCKET IDENTITY` on the command line name.
///
/// # Errors
///
/// One is missing, or `SOCKET` names no endpoint.
pub fn arguments() -> Result<(Endpoint, OsString), Box<dyn Error>> {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_default();
    let (Some(socket), Some(identity_file)) = (arguments.next(), arguments.next()) else {
        return Err(format!("usage: {} SOCKET IDENTITY", program.display()).into());
    };
    let socket = socket.into_string().map_err(|_| "SOCKET is not UTF-8")?;
    let endpoint = if cfg!(windows) {
        Endpoint::windows_pipe("acceptance", socket)?
    } else {
        Endpoint::unix_socket("acceptance", socket)?
    };
    Ok((endpoint, identity_file))
}

/// Serves on `server`, prints `ready`, and ends when the standard input does.
///
/// # Errors
///
/// Those of the server.
pub fn run(server: Server, identity_file: OsString) -> Result<(), Box<dyn Error>> {
    let server = server
        .identity_file(identity_file)
        .serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
        .legacy(wire::detect, |connection| {
            if let Err(error) = wire::serve(connection) {
                eprintln!("a legacy connection failed: {error}");
            }
        })
        .observe(|error| eprintln!("{error}: {:?}", error.source()))
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // Waits for the end of the input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    Ok(server.run()?)
}
