//! A daemon on tokio for very many connections: `crowd-daemon SOCKET IDENTITY CONNECTIONS MEMORY`.
//!
//! It answers protocol [`ECHO`] with the payload of the request, in a task for each request, and [`LARGE`] with 64 KiB.
//! It ends when its standard input does.

use running_process::broker::backend_sdk::{AsyncServer, ServerConfig};
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::crowd::{ECHO, LARGE, raise_descriptor_limit};
use std::error::Error;
use std::io::Read;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [socket, identity_file, connections, memory] = &arguments[..] else {
        return Err("four arguments".into());
    };
    raise_descriptor_limit()?;
    let mut config = ServerConfig::default();
    config.max_connections = connections.parse()?;
    // One request for each: no connection gets a second one while half of the limit is used.
    config.max_in_flight = config.max_connections;
    config.memory_limit = memory.parse()?;
    config.send_high_water = 64 * 1024;
    // Hostile connections stay open for the whole test.
    config.connection.first_message_timeout = Duration::from_mins(2);
    config.connection.message_timeout = Duration::from_mins(2);
    config.write_timeout = Duration::from_mins(2);
    let server = AsyncServer::bind(Endpoint::unix_socket("crowd", socket)?)?
        .identity_file(identity_file)
        .config(config)
        .serve(ECHO, |request| async move { Ok(request.payload().to_vec()) })
        .serve(LARGE, |_| async { Ok(vec![0; 64 * 1024]) })
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // Waits for the end of the input.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    Ok(server.run().await?)
}
