//! A daemon on tokio for very many connections: `crowd-daemon SOCKET RECORD CONNECTIONS MEMORY`.
//!
//! It answers protocol [`ECHO`] with what it was sent, in a task for each request, and [`LARGE`] with 64 KiB. It ends when
//! its standard input does.

use running_process::broker::backend_sdk::{AsyncServer, ServerConfig};
use running_process::broker::protocol::Endpoint;
use running_process_acceptance::crowd::{ECHO, LARGE, raise_descriptor_limit};
use std::error::Error;
use std::io::Read;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [socket, record, connections, memory] = &arguments[..] else { return Err("four arguments".into()) };
    raise_descriptor_limit()?;
    let mut config = ServerConfig::default();
    config.max_connections = connections.parse()?;
    // A place for each, and no connection gets a second one while half of them are taken.
    config.max_in_flight = config.max_connections;
    config.memory_limit = memory.parse()?;
    config.send_high_water = 64 * 1024;
    // Hostile connections stay for as long as the test looks at them.
    config.connection.first_message_timeout = Duration::from_mins(2);
    config.connection.message_timeout = Duration::from_mins(2);
    config.write_timeout = Duration::from_mins(2);
    let server = AsyncServer::bind(Endpoint::unix_socket("crowd", socket)?)?
        .identity_file(record)
        .config(config)
        .serve(ECHO, |request| async move { Ok(request.payload().to_vec()) })
        .serve(LARGE, |_| async { Ok(vec![0; 64 * 1024]) })
        .on_ready(|_| println!("ready"));
    let stop = server.stop_handle();
    std::thread::spawn(move || {
        // Nothing is expected but the end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
    });
    Ok(server.run().await?)
}
