//! A daemon whose legacy messages may start with the framing byte. `length-prefixed-daemon SOCKET RECORD` prints `ready`
//! and ends when its standard input does.

use running_process::broker::backend_sdk::Server;
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::wire::{self, SHOUT};
use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(socket), Some(record)) = (arguments.next(), arguments.next()) else {
        return Err("usage: length-prefixed-daemon SOCKET RECORD".into());
    };
    let socket = socket.into_string().map_err(|_| "SOCKET is not UTF-8")?;
    let endpoint = if cfg!(windows) {
        Endpoint::windows_pipe("acceptance", socket)?
    } else {
        Endpoint::unix_socket("acceptance", socket)?
    };
    let server = Server::bind(endpoint)?
        .record(record)
        .serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
        .legacy(wire::detect, |connection| {
            if let Err(error) = wire::serve(connection) {
                eprintln!("a legacy connection failed: {error}");
            }
        })
        .observe(|trouble| eprintln!("{trouble}: {:?}", trouble.source()))
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // Nothing is expected but the end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    Ok(server.run()?)
}
