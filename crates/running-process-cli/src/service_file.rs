//! The file of a service: TOML that says what the service is.
//!
//! `docs/service.md` describes it. [`read`] takes the file, `document` checks its text.

mod document;

pub(crate) use document::Fronted;

use crate::failure::Failure;
use crate::failure::advice::Advice;
use document::{Described, Problem};
use running_process::broker::service::{Replacement, Service, UpgradePolicy};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads the service in the file at `path`.
pub(crate) fn read(path: &Path) -> Result<Service, Failure> {
    let Described { service, fronted } = described(path)?;
    if fronted.is_none() {
        return Ok(service);
    }
    let (program, file) = (std::env::current_exe()?, std::path::absolute(path)?);
    let arguments = ["front".as_ref(), "--service".as_ref(), file.as_os_str()];
    Ok(of_front(service).command(program, arguments))
}

/// Reads the service in the file at `path`, whose daemon is a front, and the daemon that it fronts.
pub(crate) fn read_front(path: &Path) -> Result<(Service, Fronted), Failure> {
    let Described { service, fronted } = described(path)?;
    let no_front = || {
        invalid(
            format!("{}: the table `front` is missing", path.display()),
            "a service whose daemon is a front has `front` in the place of `command`; docs/front.md describes it",
        )
    };
    Ok((of_front(service), fronted.ok_or_else(no_front)?))
}

/// Returns the service with the way in which a front is replaced: the fronted daemon has one socket and one set of data.
fn of_front(service: Service) -> Service {
    service.upgrade_policy(UpgradePolicy::default().by(Replacement::StopThenStart))
}

fn described(path: &Path) -> Result<Described, Failure> {
    let unreadable = |error: io::Error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => Advice::undecided("no_service_file").hint(format!(
                "name the TOML file of a service{}; docs/service.md describes it",
                if path.is_relative() { ", by an absolute path if this command has another directory" } else { "" }
            )),
            io::ErrorKind::PermissionDenied => Advice::undecided("service_file_unreadable")
                .hint("run this command as the owner of the file: the mode of the file or of a directory denies access"),
            _ => Advice::undecided("service_file_unreadable"),
        };
        Failure::new(error, advice).context(format!("the service file {} cannot be read", path.display()))
    };
    let bytes = match bytes(path).map_err(unreadable)? {
        Ok(bytes) => bytes,
        Err(refused) => {
            return Err(invalid(
                format!("{} {refused}", path.display()),
                "name the TOML file of a service itself",
            ));
        }
    };
    let described = std::str::from_utf8(&bytes)
        .map_err(|error| Problem::not_utf8(error.valid_up_to()))
        .and_then(document::parse);
    described.map_err(|problem| {
        // The text before the first byte that is not UTF-8 has the position of every problem.
        let text = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let place = problem.at.map_or_else(String::new, |at| {
            let (line, column) = position(text, at);
            format!("{line}:{column}:")
        });
        invalid(format!("{}:{place} {}", path.display(), problem.text), problem.hint)
    })
}

fn invalid(error: String, hint: impl Into<std::borrow::Cow<'static, str>>) -> Failure {
    Failure::new(error, Advice::undecided("service_file_invalid").hint(hint))
}

/// Returns the content of the file, or the reason why its content is not a service's.
fn bytes(path: &Path) -> io::Result<Result<Vec<u8>, String>> {
    // Opening a FIFO could block.
    let found = path.metadata()?;
    if !found.is_file() {
        return Ok(Err("is not a regular file".to_owned()));
    }
    // With capacity left, one read and that of its end are enough.
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(MAX_BYTES)).unwrap_or_default() + 1);
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    let is_too_large = bytes.len() as u64 > MAX_BYTES;
    Ok(if is_too_large { Err(format!("is larger than {MAX_BYTES} bytes")) } else { Ok(bytes) })
}

/// Returns the line and the column, in characters, of the byte at `at`; both count from 1.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests;
