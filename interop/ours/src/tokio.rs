//! The client of `src/peer.rs` again, on the tokio twins of the same names: it prints the same lines.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use running_process::broker::backend_handle::BackendHandle;
use running_process::broker::backend_sdk::{AsyncFrameClient, read_daemon_identity_file};

const PING: u32 = 0x7A63;
const LARGE: usize = 3 << 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &args[..] {
        [command, file] if command == "client" => run(Path::new(file)),
        _ => Err("usage: client FILE".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("failed {message}");
            ExitCode::FAILURE
        }
    }
}

fn step<T, E: Display>(name: &str, result: Result<T, E>) -> Result<T, String> {
    let value = result.map_err(|error| format!("{name}: {error}"))?;
    println!("ok {name}");
    Ok(value)
}

fn run(file: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("runtime: {error}"))?.block_on(client(file))
}

async fn client(file: &Path) -> Result<(), String> {
    let daemon = step("read", read_daemon_identity_file(file).ok_or("no usable identity file"))?;
    let endpoint = &daemon.ipc_endpoint;
    let handle = BackendHandle::probe_with_service_async("interop", "1.0.0", endpoint, &daemon).await;
    let handle = step("probe", handle)?;
    println!("alive {}", handle.is_alive());
    let frames = step("connect", AsyncFrameClient::connect(endpoint).await)?;
    // All in flight at once, and answered in the order of the daemon: each reply must find its own request.
    let large = vec![0x5a; LARGE];
    let (first, second, third, echo) = tokio::join!(
        frames.request(PING, b"ping 0".to_vec()),
        frames.request(PING, b"ping 1".to_vec()),
        frames.request(PING, b"ping 2".to_vec()),
        frames.request(PING, large.clone()),
    );
    for reply in [first, second, third] {
        println!("reply {}", String::from_utf8_lossy(&step("request", reply)?.payload));
    }
    let echo = step("large", echo)?;
    match echo.payload.strip_prefix(b"pong:") {
        Some(echo) if echo == large => Ok(()),
        _ => Err(format!("large: the reply of {} bytes is not the echo", echo.payload.len())),
    }
}
