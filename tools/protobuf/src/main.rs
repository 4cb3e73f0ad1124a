//! `cargo run -p running-process-protobuf` rewrites the checked-in code.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = running_process_protobuf::checked_in();
    std::fs::write(&path, running_process_protobuf::generate()?)?;
    println!("wrote {}", path.display());
    Ok(())
}
