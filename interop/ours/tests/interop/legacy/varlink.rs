//! The command line of the Python package varlink at a daemon whose legacy wire the Rust crate varlink serves.

use super::{Daemon, Program, beside_framed_clients, bounded, output};
use crate::support::skip::wheels;
use std::process::Command;

const VARLINK: Program = Program::Legacy("varlink");

#[test]
fn varlink_is_called_beside_framed_clients() {
    let Some(programs) = wheels("INTEROP_CLIENTS") else { return };
    let daemon = Daemon::start(VARLINK);
    let address = format!("unix:{}", daemon.socket().display());
    let varlink = |arguments: &[&str]| -> Command {
        let mut command = bounded(programs.join("python3"));
        let words = arguments.iter().map(|word| word.replace("ADDRESS", &address));
        command.args(["-m", "varlink.cli"]).args(words);
        command
    };
    beside_framed_clients(&daemon.identity_file(), || {
        let info = output(&mut varlink(&["info", "ADDRESS"]));
        assert!(info.contains("interop.count"), "{info}");
        let help = output(&mut varlink(&["help", "ADDRESS/interop.count"]));
        assert!(help.contains("method To(last: int) -> (number: int)"), "{help}");
        let to = "ADDRESS/interop.count.To";
        let numbers = |text: String| -> Vec<u32> {
            let numbers = text.lines().filter_map(|line| line.trim().strip_prefix("\"number\": "));
            numbers.map(|number| number.parse().unwrap()).collect()
        };
        assert_eq!(numbers(output(&mut varlink(&["call", to, r#"{"last": 3}"#]))), [3]);
        let all = numbers(output(&mut varlink(&["call", "-m", to, r#"{"last": 1000}"#])));
        assert_eq!(all, (1..=1000).collect::<Vec<_>>());
        let refused = varlink(&["call", to, r#"{"last": 1001}"#]).output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("interop.count.TooFar"), "{refused:?}");
    });
    daemon.stop();
}
