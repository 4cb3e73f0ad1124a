//! Runs each target on the inputs that are kept for it.

use running_process_fuzz::{TARGETS, corpus};

/// Names the input that a target panics on.
struct Running<'a>(&'a str, &'a [u8]);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("target {}, input {:02x?}", self.0, self.1);
        }
    }
}

// One test, so that no other thread opens files: a target counts them.
#[test]
fn every_kept_input_passes_its_target() {
    for target in &TARGETS {
        let inputs = corpus::read(target).unwrap_or_else(|error| panic!("{}: {error}", target.name));
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for input in &inputs {
            let _named = Running(target.name, input);
            (target.run)(input);
        }
    }
}
