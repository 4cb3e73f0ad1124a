//! Exactly one daemon, always reachable: both sides of a service in one program.
//!
//! ```sh
//! cargo run --example service -- hello     # starts the daemon if none runs, and asks it
//! cargo run --example service -- stop
//! ```

use running_process::broker::service::Deadline;
use running_process::{Server, Service};
use std::env;
use std::error::Error;
use std::time::Duration;

running_process::register_payload_protocol! { const SHOUT: u32 = 0xF00D; }

/// Returns the service: the same value for both sides.
///
/// A newer version replaces the daemon of an older one if it is installed at the same path. Where each version has a directory of its
/// own, `command` names a link to the newest one in the place of `current_exe`.
fn service() -> Result<Service, Box<dyn Error>> {
    Ok(Service::new("shout-example")?
        .version(env!("CARGO_PKG_VERSION"))
        .command(env::current_exe()?, ["serve"])
        .idle_timeout(Duration::from_mins(1)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let argument = env::args().nth(1).unwrap_or_else(|| "hello".to_owned());
    let deadline = Deadline::after(Duration::from_secs(10));
    match argument.as_str() {
        "serve" => {
            Server::for_service(&service()?)?
                .serve(SHOUT, |request| Ok(request.payload().to_ascii_uppercase()))
                .run()?;
        }
        "stop" => println!("{:?}", service()?.stop(deadline)?),
        text => {
            let daemon = service()?.ensure(deadline)?;
            let pid = daemon.daemon_process.pid;
            let response = daemon.into_client().request(SHOUT, text.as_bytes().to_vec())?;
            println!("process {pid} answers {}", String::from_utf8_lossy(&response.payload));
        }
    }
    Ok(())
}
