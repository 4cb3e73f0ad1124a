//! A daemon whose legacy messages may start with the framing byte. `length-prefixed-daemon SOCKET IDENTITY` prints `ready`
//! and ends when its standard input does.

use running_process::broker::backend_sdk::Server;
use running_process_acceptance::daemon;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let (endpoint, identity_file) = daemon::arguments()?;
    daemon::run(Server::bind(endpoint)?, identity_file)
}
