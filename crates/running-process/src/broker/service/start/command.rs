use super::ensure_error::EnsureError;
use super::private_copy;
use crate::broker::service::definition::{Service, find_program};
use crate::broker::service::paths::ServicePaths;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The program that a start runs, with its arguments.
pub(in crate::broker::service) struct Command {
    pub(in crate::broker::service) program: PathBuf,
    pub(in crate::broker::service) arguments: Vec<OsString>,
}

/// The reason why there is no program to run.
pub(in crate::broker::service) enum CommandError {
    /// The service names none, or none that is found. That is no failed start.
    Unknown(EnsureError),
    /// It cannot be run.
    NotRun(String),
}

impl Command {
    /// Returns the command of `service`.
    pub(in crate::broker::service) fn of(
        service: &Service,
        paths: &ServicePaths,
    ) -> Result<Self, CommandError> {
        let Some((program, arguments)) = &service.command else {
            return Err(CommandError::Unknown(EnsureError::NoCommand));
        };
        let mut program = found(program)?;
        if cfg!(windows) && service.runs_from_copy {
            let failed =
                |error| CommandError::NotRun(format!("{} cannot be copied: {error}", program.display()));
            program = private_copy::of(&program, &paths.copies()).map_err(failed)?;
        }
        if !service.in_own_scope {
            return Ok(Self { program, arguments: arguments.clone() });
        }
        let mut all: Vec<OsString> =
            ["--user", "--scope", "--quiet", "--collect", "--"].iter().map(OsString::from).collect();
        all.push(program.into());
        all.extend(arguments.iter().cloned());
        Ok(Self { program: found(Path::new("systemd-run"))?, arguments: all })
    }
}

fn found(program: &Path) -> Result<PathBuf, CommandError> {
    let unknown = || EnsureError::NoProgram { program: program.display().to_string() };
    find_program(program).ok_or_else(|| CommandError::Unknown(unknown()))
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    #[test]
    fn only_windows_runs_a_copy_of_the_program() {
        let root = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let service = Service::new("copied").unwrap().below(root.path().join("root"));
        let service = Service { runs_from_copy: true, ..service.command(&program, [""; 0]) };
        let paths = ServicePaths::of(&service).unwrap();
        let Ok(command) = Command::of(&service, &paths) else { panic!("the program is there") };
        assert_eq!(command.program, program);
        assert!(!paths.copies().exists());
    }
}
