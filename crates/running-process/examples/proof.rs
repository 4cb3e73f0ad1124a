//! Prints what a handle proves: each step of a verification with its evidence.
//!
//! ```sh
//! cargo run --example proof -- /tmp/shout/daemon.json
//! ```

use running_process::BackendHandle;
use running_process::broker::backend_lifecycle::verify::{ImageState, Policy};
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let identity_file = std::env::args_os().nth(1).ok_or("usage: proof IDENTITY_FILE")?;
    let daemon = try_read_daemon_identity_file(identity_file.as_ref())?.ok_or("no daemon runs")?;

    // `Policy::strict()` requires every step to be proven; `Policy::lenient()` accepts what every platform can give.
    let deadline = Instant::now() + Duration::from_secs(5);
    let handle = BackendHandle::verify(&daemon, Policy::default(), deadline)?;

    let proof = handle.proof();
    for step in &proof.steps {
        println!("{:<10} {:<14} {}", step.verdict, step.kind, step.evidence);
    }
    println!("level: {}", proof.level);
    println!("image replaced on disk: {}", proof.image == ImageState::ReplacedOnDisk);
    println!("detects a restart with the same pid: {}", proof.with_origin);

    // The handle has the connection that was proven. Each further one is verified as well.
    let _another = handle.connect()?;
    println!("alive: {}", handle.is_alive());
    Ok(())
}
