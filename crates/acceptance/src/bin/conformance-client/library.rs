//! The library's clients.

use crate::told::{protocol, variable};
use running_process::broker::backend_handle::{BackendHandle, DaemonProcess};
use running_process::broker::backend_sdk::try_read_daemon_identity_file;
use std::error::Error;
use std::path::Path;

pub(crate) fn blocking() -> Result<Vec<u8>, Box<dyn Error>> {
    let daemon = recorded()?;
    let handle = BackendHandle::probe_with_service("conform", "1", &daemon.ipc_endpoint, &daemon)?;
    Ok(handle.into_client().request(protocol()?, b"echo hello".to_vec())?.payload)
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn tokio() -> Result<Vec<u8>, Box<dyn Error>> {
    let daemon = recorded()?;
    let handle =
        BackendHandle::probe_with_service_async("conform", "1", &daemon.ipc_endpoint, &daemon).await?;
    Ok(handle.into_async_client()?.request(protocol()?, b"echo hello".to_vec()).await?.payload)
}

fn recorded() -> Result<DaemonProcess, Box<dyn Error>> {
    let file = variable("IDENTITY")?;
    Ok(try_read_daemon_identity_file(Path::new(&file))?.ok_or("there is no identity file")?)
}
