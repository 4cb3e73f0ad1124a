//! The test daemon behind a service manager, which passes the socket. `inherited-daemon SOCKET IDENTITY` prints `ready` and
//! ends when its standard input does. It fails if it could have the socket twice.

use running_process::broker::backend_sdk::{BindError, Server};
use running_process_acceptance::daemon;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let (endpoint, identity_file) = daemon::arguments()?;
    let server = Server::bind_inherited(endpoint.clone())?;
    let again = || match Server::bind_inherited(endpoint.clone()) {
        Err(BindError::AlreadyInherited { .. }) => Ok(()),
        other => Err(format!("a second take gave {other:?}")),
    };
    again()?;
    daemon::run(server, identity_file)?;
    // Its number is free by now, and another descriptor may have got it.
    again()?;
    Ok(())
}
