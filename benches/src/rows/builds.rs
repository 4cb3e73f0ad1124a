//! The cost of depending on a library: packages, and the time of a clean release build.

use crate::place::Placement;
use crate::row::{Contender, Goal, Pace, Row, Run, Unit, nanoseconds};
use crate::scratch::Scratch;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The folder of this package, whose lock file chooses the versions.
const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// A function that measures a package that depends on nothing but the library.
type Measure = fn(&Path) -> f64;

pub fn rows() -> [Row; 2] {
    let row = |name, title, unit, pace, contenders| Row {
        pace,
        ..Row::new(name, title, unit, Placement::Free, contenders)
    };
    [
        row("packages", "packages that depending on it adds", Unit::Count, Pace::Once, || {
            contenders(packages, 35.0, Some(13.0))
        }),
        row("build", "clean release build", Unit::Time, Pace::OnceIfAsked, || contenders(build, 40e9, None)),
    ]
}

fn contenders(measure: Measure, default: f64, core: Option<f64>) -> Vec<Contender> {
    let of = |dependency: &'static str| {
        move |scratch: &Scratch| {
            let package = depending_on(dependency, scratch);
            Box::new(move |count: u64| measure(&package) * count as f64) as Run
        }
    };
    let mut alone = Contender::ours(
        "the core, no features",
        of(r#"running-process = { path = "OURS", default-features = false }"#),
    );
    alone.goal = core.map(Goal::Cost);
    vec![
        Contender::ours("default features", of(r#"running-process = { path = "OURS" }"#)).at_most(default),
        Contender::ours("tokio", of(r#"running-process = { path = "OURS", features = ["tokio"] }"#)),
        alone,
        Contender::peer(
            "client",
            of(
                r#"running-process = { version = "=4.10.21", default-features = false, features = ["client"] }"#,
            ),
        ),
        Contender::other("tonic", of("prost = \"0.14\"\ntonic = \"0.14\"\ntonic-prost = \"0.14\"")),
        Contender::other(
            "tarpc",
            of(
                r#"tarpc = { version = "0.38", features = ["serde-transport", "serde-transport-bincode", "tokio1", "unix"] }"#,
            ),
        ),
    ]
}

/// Makes a package that depends on nothing else, in the versions of this package's lock file.
fn depending_on(dependency: &str, scratch: &Scratch) -> PathBuf {
    let package = scratch.unused("package");
    let library = Path::new(HERE).join("../crates/running-process");
    let dependency = dependency.replace("OURS", library.to_str().expect("a path in UTF-8"));
    let manifest = format!(
        "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n{dependency}\n"
    );
    fs::create_dir_all(package.join("src")).expect("a directory");
    fs::write(package.join("Cargo.toml"), manifest).expect("a file");
    fs::write(package.join("src/lib.rs"), "").expect("a file");
    fs::copy(Path::new(HERE).join("Cargo.lock"), package.join("Cargo.lock")).expect("a copy");
    // Drops other packages from the lock file and fetches the missing ones now.
    cargo(&package, &["fetch"]);
    package
}

fn packages(package: &Path) -> f64 {
    let tree = cargo(package, &["tree", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]);
    let packages: BTreeSet<&str> =
        tree.lines().skip(1).map(|line| line.split(" (").next().unwrap_or(line)).collect();
    packages.len() as f64
}

fn build(package: &Path) -> f64 {
    let begin = Instant::now();
    cargo(package, &["build", "--release", "--quiet"]);
    let took = nanoseconds(begin);
    fs::remove_dir_all(package.join("target")).expect("it was built");
    took
}

fn cargo(package: &Path, arguments: &[&str]) -> String {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(package)
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo is installed");
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?} in {}: {problem}", package.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}
