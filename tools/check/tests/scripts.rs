//! The scripts of releases and checks, called with wrong arguments, as a person in another directory calls them.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs a script of the repository at `root` by a relative path, in its directory `docs`.
fn run(root: &Path, script: &str, arguments: &[&str]) -> Output {
    Command::new("bash")
        .arg(format!("../{script}"))
        .args(arguments)
        .current_dir(root.join("docs"))
        .output()
        .unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .any(|directory| directory.join(program).is_file())
}

#[test]
fn an_unknown_option_is_answered_with_the_usage() {
    for script in [
        ".ci/run",
        "ci/bare.sh",
        "ci/fuzz.sh",
        "ci/instructions.sh",
        "ci/mutants.sh",
        "ci/nightly.sh",
        "ci/package.sh",
        "ci/pages.sh",
        "ci/release.sh",
        "ci/sbom.sh",
        "ci/supply.sh",
        "packaging/deb.sh",
        "packaging/install.sh",
    ] {
        let output = run(&repository(), script, &["--no-such-option"]);
        assert_eq!(output.status.code(), Some(2), "{script}: {output:?}");
        let usage = format!("usage: {}", Path::new(script).file_name().unwrap().display());
        assert!(errors(&output).starts_with(&usage), "{script}: {output:?}");
        assert!(output.stdout.is_empty(), "{script}: {output:?}");
    }
}

#[test]
fn an_argument_that_cannot_be_is_refused_before_any_work() {
    for (script, arguments) in [
        ("ci/fuzz.sh", &["one"][..]),
        ("ci/fuzz.sh", &["0s"]),
        ("ci/supply.sh", &["compiler", "licenses"]),
        ("ci/package.sh", &["--tests", "most"]),
        ("ci/package.sh", &["--tests"]),
        ("ci/package.sh", &["--name", "a/b"]),
        ("ci/package.sh", &["--name"]),
        ("packaging/deb.sh", &["--check"]),
    ] {
        let output = run(&repository(), script, arguments);
        assert_eq!(output.status.code(), Some(2), "{script} {arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{script} {arguments:?}: {output:?}");
    }
}

#[test]
fn a_step_that_does_not_exist_is_a_failure() {
    for script in [".ci/run", "ci/nightly.sh"] {
        // A pattern, and the name of a step with more behind it.
        for name in ["mutant.", "mutants ci"] {
            let output = run(&repository(), script, &[name]);
            assert_eq!(output.status.code(), Some(1), "{script}: {output:?}");
            assert!(
                errors(&output).contains(&format!("there is no step {name}, but: ")),
                "{script}: {output:?}"
            );
        }
    }
}

#[test]
fn a_package_is_not_made_of_what_is_no_program() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&repository(), "packaging/install.sh", &["cli.md", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(errors(&output), "install.sh: cli.md is no program\n");
}

#[test]
fn a_release_that_is_refused_leaves_no_directory() {
    if let Some(missing) =
        ["cargo", "dpkg-shlibdeps", "git", "python3"].iter().find(|program| !is_installed(program))
    {
        eprintln!("skipped: {missing} is missing");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("a repository");
    std::fs::create_dir_all(root.join("ci")).unwrap();
    std::fs::create_dir(root.join("docs")).unwrap();
    for file in ["Cargo.toml", "ci/begin.sh", "ci/release.sh"] {
        std::fs::copy(repository().join(file), root.join(file)).unwrap();
    }
    assert!(Command::new("git").args(["init", "--quiet"]).arg(&root).status().unwrap().success());

    let output = run(&root, "ci/release.sh", &["made"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(errors(&output), "release.sh: there are local changes\n");
    assert!(!root.join("made").exists() && !root.join("docs/made").exists());

    // A name is relative to where the script was called.
    std::fs::create_dir(root.join("docs/made")).unwrap();
    let output = run(&root, "ci/release.sh", &["made"]);
    assert_eq!(errors(&output), format!("release.sh: {} exists\n", root.join("docs/made").display()));
}

#[test]
fn all_packages_have_the_version_of_the_workspace() {
    let read = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    let workspace = read("Cargo.toml");
    let own = workspace.lines().find(|line| line.starts_with("version = ")).unwrap();
    assert!(read("python/Cargo.toml").lines().any(|line| line == own), "python/Cargo.toml has not: {own}");
    let members: Vec<&str> = workspace.lines().filter(|line| line.contains("path = \"crates/")).collect();
    assert!(!members.is_empty());
    for member in members {
        assert!(member.contains(&format!(", {own}")), "{member}");
    }
}
