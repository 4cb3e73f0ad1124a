//! The machine and the versions of the results.

use std::fs;
use std::process::Command;

const LOCK_FILE: &str = include_str!("../../Cargo.lock");

/// Packages whose versions are printed.
const PARTIES: [&str; 10] = [
    "running-process",
    "tarpc",
    "tonic",
    "prost",
    "tokio",
    "tokio-util",
    "ttrpc",
    "capnp-rpc",
    "zlink",
    "shmipc",
];

pub(super) fn describe() -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("CPU", format!("{}, {cores} cores", cpu())),
        ("system", said_by("uname", &["-srm"])),
        ("compiler", format!("{}, cargo's release profile as it is", said_by("rustc", &["--version"]))),
        ("packages", versions()),
        ("redis-server", redis()),
    ]
}

fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".into(), |(_, model)| model.to_owned())
}

fn versions() -> String {
    let packages = LOCK_FILE.split("[[package]]").filter_map(|package| {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_matches(['=', ' ', '"']))
        };
        Some((field("name")?, field("version")?))
    });
    let named: Vec<String> = packages
        .filter(|(name, _)| PARTIES.contains(name))
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    named.join(", ")
}

fn redis() -> String {
    let version = said_by("redis-server", &["--version"]);
    match version.split_whitespace().find_map(|word| word.strip_prefix("v=")) {
        Some(version) => version.to_owned(),
        None => "not installed, and not in the table".into(),
    }
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
        Err(_) => "unknown".into(),
    }
}
