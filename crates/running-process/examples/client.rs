//! A client: finds the daemon, proves it, and sends one request on the connection that was proven.
//!
//! ```sh
//! cargo run --example client -- /tmp/shout/daemon.json 'hello world'
//! ```
//!
//! It prints each event of the request, then the response. The examples `blocking_daemon`, `tokio_daemon` and
//! `adopt_legacy` are daemons that serve it.

use running_process::broker::backend_sdk::{FrameClientError, RequestOptions, try_read_daemon_identity_file};
use running_process::{BackendHandle, FrameClient};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

running_process::register_payload_protocol! {
    /// The protocol of the daemon.
    const SHOUT: u32 = 0xF00D;
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [identity_file, text] = &arguments[..] else {
        return Err("usage: client IDENTITY_FILE TEXT".into());
    };
    let mut client = connect(Path::new(identity_file))?;
    match shout(&mut client, text) {
        Ok(response) => println!("response: {response}"),
        Err(FrameClientError::Refused(refusal)) => {
            // A request whose handler has not run is safe to send again.
            eprintln!("refused: {refusal}; the request may have run: {}", refusal.may_have_run());
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Connects to the daemon in the identity file. The kernel names the process at the other end, so an impostor is refused
/// before a byte of a request is sent.
fn connect(identity_file: &Path) -> Result<FrameClient, Box<dyn Error>> {
    let daemon = try_read_daemon_identity_file(identity_file)?.ok_or("no daemon runs")?;
    let handle = BackendHandle::probe_with_service("shout", "1.0.0", &daemon.ipc_endpoint, &daemon)?;
    Ok(handle.into_client())
}

/// Sends one request, prints its events, and returns its response. The daemon learns the deadline.
fn shout(client: &mut FrameClient, text: &str) -> Result<String, FrameClientError> {
    let options = RequestOptions::new().with_timeout(Duration::from_secs(10));
    let mut stream = client.request_streaming_with(SHOUT, text.as_bytes().to_vec(), &options)?;
    while let Some(event) = stream.next_event()? {
        println!("event: {}", String::from_utf8_lossy(&event.payload));
    }
    Ok(String::from_utf8_lossy(&stream.response()?.payload).into_owned())
}
