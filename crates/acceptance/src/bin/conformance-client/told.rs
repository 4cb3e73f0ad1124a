//! The variables that the judge sets.

use std::error::Error;

/// Returns a variable.
pub(crate) fn variable(name: &str) -> Result<String, Box<dyn Error>> {
    let name = format!("RUNNING_PROCESS_CONFORM_{name}");
    std::env::var(&name).map_err(|error| format!("{name}: {error}").into())
}

/// Returns the payload protocol of the request.
pub(crate) fn protocol() -> Result<u32, Box<dyn Error>> {
    let text = variable("PROTOCOL")?;
    Ok(u32::from_str_radix(text.trim_start_matches("0x"), 16)?)
}
