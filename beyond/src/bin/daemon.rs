//! A daemon whose requests are served by workers.
//!
//! ```sh
//! cargo run --bin daemon -- daemon.sock daemon.json nats://127.0.0.1:4222
//! ```

use beyond::{Gateway, Subjects};
use running_process::{AsyncServer, Endpoint};
use std::error::Error;

running_process::register_payload_protocol! { const WORK: u32 = 0xF00D; }

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, identity_file, nats] = &arguments[..] else {
        return Err("usage: daemon SOCKET IDENTITY_FILE NATS_URL".into());
    };
    let gateway = Gateway::new(async_nats::connect(nats).await?, Subjects::of("work"));
    let serve = move |request| {
        let gateway = gateway.clone();
        async move { gateway.hand_over(request).await }
    };
    let server = AsyncServer::bind(Endpoint::unix_socket("work", socket)?)?;
    server.identity_file(identity_file).serve(WORK, serve).stop_on_signals()?.run().await?;
    Ok(())
}
