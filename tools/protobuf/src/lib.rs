//! Generates `protocol/generated.rs` of the library from its `.proto` file, without protoc.

use std::path::{Path, PathBuf};

/// The attribute of types that only the library makes, and that will have more fields.
const GROWING: &str = "#[non_exhaustive]";

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/running-process")
}

/// Returns the path of the checked-in code.
#[must_use]
pub fn checked_in() -> PathBuf {
    library().join("src/broker/protocol/generated.rs")
}

/// Generates the code from the `.proto` file.
///
/// # Errors
///
/// The `.proto` file is missing or wrong, or nothing could be written to the temporary directory.
pub fn generate() -> Result<String, Box<dyn std::error::Error>> {
    let proto = library().join("proto");
    let descriptors = protox::compile(["running_process.broker.v1.proto"], [&proto])?;
    let directory = tempfile::tempdir()?;
    prost_build::Config::new()
        .type_attribute("running_process.broker.v1.ServerStatus", GROWING)
        .type_attribute("running_process.broker.v1.LatencyHistogram", GROWING)
        .out_dir(directory.path())
        .compile_fds(descriptors)?;
    Ok(std::fs::read_to_string(directory.path().join("running_process.broker.v1.rs"))?)
}
