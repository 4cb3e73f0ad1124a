//! Daemons as real processes. A copy of this program is the daemon: no other program is everywhere.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Instant;

use super::super::{ProcessEnd, SpawnPlan, Spawned, spawn_detached};
use super::soon;
use crate::own_process;

fn start(directory: &Path, test: impl Fn()) -> io::Result<Spawned> {
    let arguments: Vec<OsString> = own_process::arguments(test)
        .into_iter()
        .chain(["--nocapture", "--skip", r#"a "b\" c\"#])
        .map(OsString::from)
        .collect();
    // Variables that the system's own libraries need.
    let mut environment = vec![("TEXT".into(), "a=b c".into())];
    environment.extend(["SystemRoot", "WINEPREFIX"].iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((OsString::from(name), value))
    }));
    let log = File::options().append(true).create(true).open(directory.join("log"))?;
    spawn_detached(&SpawnPlan {
        program: &std::env::current_exe()?,
        arguments: &arguments,
        environment: &environment,
        directory,
        log: &log,
        lock: None,
    })
}

#[test]
#[ignore = "started by the next test as a daemon"]
fn prints_what_it_was_given() {
    println!("directory {}", std::env::current_dir().unwrap().display());
    println!("last {}", std::env::args().next_back().unwrap());
    println!("variable {}", std::env::var("TEXT").unwrap());
    println!("path {:?}", std::env::var_os("PATH"));
    eprintln!("error");
    assert_eq!(io::copy(&mut io::stdin(), &mut io::sink()).unwrap(), 0);
    std::process::exit(7);
}

#[test]
fn a_daemon_has_its_arguments_its_log_its_directory_and_its_environment() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(directory.path(), prints_what_it_was_given).unwrap();
    assert_eq!(daemon.end(Some(soon())).unwrap(), Some(ProcessEnd::Exited(7)));
    assert_eq!(daemon.end(None).unwrap(), Some(ProcessEnd::Exited(7)));
    let log = fs::read_to_string(directory.path().join("log")).unwrap();
    let line = |text: &str| assert!(log.contains(text), "{text}: {log}");
    line(r#"last a "b\" c\"#);
    line("variable a=b c");
    line("error");
    line("path None");
    let name = directory.path().file_name().unwrap().to_str().unwrap();
    line(name);
}

#[test]
#[ignore = "started by the next test as a daemon"]
fn runs_until_it_is_killed() {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_daemon_lives_when_its_starter_lets_it_go() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start(directory.path(), runs_until_it_is_killed).unwrap();
    assert_eq!(daemon.end(Some(Instant::now())).unwrap(), None);
    let process = super::super::ProcessHandle::open(daemon.pid()).unwrap().unwrap();
    assert!(process.is_same_process(daemon.process()).unwrap());
    drop(daemon);
    assert!(!process.has_exited().unwrap());
    process.kill().unwrap();
    assert!(process.wait_exit(Some(soon())).unwrap());
}

#[test]
fn a_program_that_cannot_be_executed_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let log = File::create(directory.path().join("log")).unwrap();
    let start = |program: &Path| {
        let plan = SpawnPlan {
            program,
            arguments: &[],
            environment: &[],
            directory: directory.path(),
            log: &log,
            lock: None,
        };
        spawn_detached(&plan).unwrap_err().kind()
    };
    assert_eq!(start(&directory.path().join("absent.exe")), io::ErrorKind::NotFound);
    assert_eq!(start(&directory.path().join("file.bat")), io::ErrorKind::InvalidInput);
}
