//! The program of a service, its version and its file.

use super::machine::{Diagnosis, Machine, pid_of};
use crate::common::text;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_file_that_describes_no_service_is_told_by_its_name_and_among_all() {
    let machine = Machine::new();
    let path = machine.services.configure(&machine.name, "name = 'x'\ncomand = ['true']\n");
    for arguments in [vec![], vec![machine.name.as_str()]] {
        let diagnosis = Diagnosis::of(machine.services.command(&["doctor", "--json"]).args(arguments));
        let finding = &diagnosis.findings[0];
        assert_eq!(
            (&finding["id"], &finding["service"]),
            (&"service_file_invalid".into(), &machine.name.as_str().into())
        );
        let what = finding["what"].as_str().unwrap();
        assert!(what.contains(&format!("{}:2:1: ", text(&path))) && what.contains("comand"), "{what}");
    }
}

#[test]
fn a_file_that_others_can_write_is_made_the_users_alone() {
    let machine = Machine::new();
    let file = machine.cache("");
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    let finding = machine.finds("service_file_writable");
    assert!(finding["what"].as_str().unwrap().ends_with("has mode 666"), "{finding}");
    machine.follow(&finding);
    machine.lacks("service_file_writable");
    fs::set_permissions(machine.services.path("."), Permissions::from_mode(0o777)).unwrap();
    machine.follow(&machine.finds("service_file_writable"));
    machine.lacks("service_file_writable");
}

#[test]
fn a_program_that_is_missing_or_cannot_be_run_is_told_with_its_path() {
    let machine = Machine::new();
    for name in ["/missing/program", "no-such-program-anywhere"] {
        machine.services.file(&machine.name, &format!("command = ['{name}']"));
        assert_eq!(machine.finds("program_missing")["path"], name);
    }
    let program = machine.services.path("program");
    fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
    machine.services.file(&machine.name, &format!("command = ['{}']", program.display()));
    let finding = machine.finds("program_not_executable");
    assert_eq!(finding["path"], text(&program));
    machine.follow(&finding);
    machine.lacks("program_not_executable");
}

#[test]
fn a_program_that_was_replaced_on_disk_runs_after_a_restart() {
    let machine = Machine::new();
    let program = machine.services.path("program");
    fs::copy(env!("CARGO_BIN_EXE_running-process"), &program).unwrap();
    let file = machine.file();
    machine
        .services
        .file(&machine.name, &format!("command = ['{}', 'serve', '--service', '{file}']", program.display()));
    let pid = machine.services.start(&file);
    machine.lacks("program_replaced");
    let new = machine.services.path("program.new");
    fs::copy(env!("CARGO_BIN_EXE_running-process"), &new).unwrap();
    fs::rename(&new, &program).unwrap();
    let finding = machine.finds("program_replaced");
    assert_eq!((pid_of(&finding), &finding["path"]), (pid, &text(&program).into()));
    machine.follow(&finding);
    machine.lacks("program_replaced");
    let finding = machine.finds("temporary_program");
    assert!(finding["what"].as_str().unwrap().contains("the temporary directory /tmp"), "{finding}");
}

#[test]
fn a_daemon_of_another_version_is_told_with_the_decision_and_replaced_by_a_restart() {
    let machine = Machine::new();
    let file = machine.cache("version = '2.0.0'");
    let pid = machine.services.start(&file);
    machine.lacks("other_version");
    machine.cache("version = '1.0.0'");
    let finding = machine.finds("other_version");
    assert_eq!(pid_of(&finding), pid);
    let what = finding["what"].as_str().unwrap();
    assert!(what.starts_with("at the next start the daemon of version 2.0.0 is kept: "), "{finding}");
    assert!(what.contains("newer than version 1.0.0"), "{finding}");
    machine.follow(&finding);
    machine.lacks("other_version");
}

#[test]
fn a_replacement_war_is_told_with_both_versions() {
    let machine = Machine::new();
    for version in 1..=4 {
        machine.services.start(&machine.cache(&format!("version = '{version}.0'")));
    }
    let file = machine.cache("version = '5.0'");
    machine.services.run(&["start", "--file", &file]).fails_with(1, &["3 replacements"]);
    let finding = machine.finds("replacement_war");
    let what = finding["what"].as_str().unwrap();
    assert!(what.contains("4.0") && what.contains("5.0") && what.contains("3 replacements"), "{what}");
    machine.follow(&finding);
    machine.lacks("replacement_war");
}
