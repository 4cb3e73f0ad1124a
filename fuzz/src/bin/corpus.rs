//! Converts between `fuzz/corpus/TARGET.hex` and a directory with one file for each input, as libFuzzer has it.
//!
//! ```text
//! corpus targets                  prints the names of the targets
//! corpus unpack TARGET DIRECTORY  writes the inputs of the file into the directory
//! corpus pack TARGET DIRECTORY    writes the inputs of the directory into the file
//! ```

use running_process_fuzz::{TARGETS, Target, corpus};
use std::error::Error;
use std::fs;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["targets"] => {
            for target in &TARGETS {
                println!("{}", target.name);
            }
        }
        ["unpack", target, directory] => {
            for (index, input) in corpus::read(named(target)?)?.iter().enumerate() {
                fs::write(format!("{directory}/kept-{index}"), input)?;
            }
        }
        ["pack", target, directory] => {
            let files = fs::read_dir(directory)?.map(|entry| fs::read(entry?.path()));
            corpus::write(named(target)?, files.collect::<Result<_, _>>()?)?;
        }
        _ => return Err("corpus targets, or corpus unpack|pack TARGET DIRECTORY".into()),
    }
    Ok(())
}

fn named(name: &str) -> Result<&'static Target, String> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| format!("{name} is no target"))
}
