//! The services of this user: each has a file in the configuration directory, or is found by its directory in the root.
//!
//! [`select`] takes the one that a command is about, [`all`] lists them, and [`survey`] looks at many of them at once.

mod survey;

pub(crate) use survey::{Surveyed, on_threads, status, survey, without_own_connection};

use crate::cli::ServiceArg;
use crate::failure::Failure;
use crate::failure::advice::{Advice, service as advice};
use crate::service_file;
use crate::text::{quoted, safe, shell_word};
use running_process::broker::service::{PlaceError, Service, configuration_directory};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// A service that a command is about.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The name by which the user calls it: the stem of its file, or the name of its directory.
    pub(crate) label: String,
    pub(crate) service: Service,
    /// Its TOML file; `None` if it is known only by its directory.
    pub(crate) file: Option<PathBuf>,
    /// The arguments by which another command takes the same service: `cache`, or `--file cache.toml`.
    pub(crate) argument: String,
}

impl Selected {
    /// Returns the service in the file at `path`, which need not be in the configuration directory.
    pub(crate) fn of_file(path: &Path) -> Result<Self, Failure> {
        let service = service_file::read(path)?;
        let argument = format!("--file {}", shell_word(path));
        Ok(Self { label: label(path), service, file: Some(path.to_owned()), argument })
    }

    /// Returns the service `label` of the configuration directory, whose file is at `path`.
    fn of_label(label: String, path: PathBuf) -> Result<Self, Unusable> {
        match service_file::read(&path) {
            Ok(service) => {
                let argument = shell_word(Path::new(&label));
                Ok(Self { label, service, file: Some(path), argument })
            }
            Err(failure) => Err(Unusable { label, file: path, failure: Box::new(failure) }),
        }
    }

    /// Returns the service that is known only by its directory.
    fn of_directory(service: Service) -> Result<Self, Failure> {
        let directory = service.directory().map_err(no_place)?;
        let label = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { argument: label.clone(), label, service, file: None })
    }

    /// Returns the service for people: its name, with its key if it has one.
    pub(crate) fn title(&self) -> String {
        match self.service.key() {
            Some(key) => format!("{} with key {}", self.service.name(), quoted(&key.to_string_lossy())),
            None if self.file.is_none() => self.label.clone(),
            None => self.service.name().to_owned(),
        }
    }

    /// Returns the arguments by which the daemon is started. What is known only by its directory has no command: its file is to be named.
    pub(crate) fn start_argument(&self) -> &str {
        if self.file.is_some() { &self.argument } else { "--file FILE" }
    }

    /// Returns the commands that replace the daemon by a new one.
    pub(crate) fn stop_and_start(&self) -> String {
        format!("running-process stop {} && running-process start {}", self.argument, self.start_argument())
    }

    /// Returns whether the user may call it `name`: by its label, or by the name of its directory.
    fn is_called(&self, name: &str) -> bool {
        let directory = self.service.directory();
        self.label == name || directory.is_ok_and(|directory| directory.file_name() == Some(OsStr::new(name)))
    }
}

/// A file in the configuration directory that does not describe a service.
#[derive(Debug)]
pub(crate) struct Unusable {
    /// The stem of the file.
    pub(crate) label: String,
    pub(crate) file: PathBuf,
    pub(crate) failure: Box<Failure>,
}

/// Returns the service that a command is about.
pub(crate) fn select(argument: &ServiceArg) -> Result<Selected, Failure> {
    match (&argument.name, &argument.service_file) {
        (_, Some(file)) => Selected::of_file(file),
        (name, None) => {
            let name = name.as_deref().unwrap_or_default();
            called(name, |path| format!("to name the file of a service: --file {path}"))
        }
    }
}

/// Returns the identity file that `argument` names: its own path, or that of the service so called. A path has a separator, or is that
/// of a file.
pub(crate) fn identity_file(argument: &Path) -> Result<PathBuf, Failure> {
    let text = argument.to_string_lossy();
    if text.contains(std::path::is_separator) || argument.symlink_metadata().is_ok() {
        return Ok(argument.to_owned());
    }
    let other = |_: &str| {
        "give the path of the daemon's identity file, or the name of a service; `running-process ps` lists all".to_owned()
    };
    let selected = called(&text, other).map_err(|failure| {
        let failure = failure.kind("no_identity_file");
        // A service is rarely called `cache.json`.
        let is_path = argument.extension().is_some();
        if is_path { failure.context(format!("there is no identity file {}", safe(&text))) } else { failure }
    })?;
    let file = selected.service.identity_file().map_err(no_place)?;
    if file.symlink_metadata().is_ok() {
        return Ok(file);
    }
    let argument = &selected.argument;
    let hint = format!(
        "`running-process status {argument}` tells its state, `running-process start {argument}` starts it"
    );
    let error = format!("{} has no daemon: there is no identity file {}", safe(&text), safe(file.display()));
    Err(Failure::new(error, Advice::no("no_identity_file").hint(hint)))
}

/// Returns every service with a file in the configuration directory, by label, then those that only have a directory in the root.
/// A file that cannot be used is an `Err` of its own.
pub(crate) fn all() -> Result<Vec<Result<Selected, Unusable>>, Failure> {
    let files = files(&configuration_directory().map_err(no_place)?, "toml")?;
    let mut all: Vec<_> = files.into_iter().map(|file| Selected::of_label(label(&file), file)).collect();
    let described: HashSet<PathBuf> =
        all.iter().flatten().filter_map(|selected| selected.service.directory().ok()).collect();
    for service in Service::known().map_err(no_place)? {
        if !service.directory().is_ok_and(|directory| described.contains(&directory)) {
            all.push(Ok(Selected::of_directory(service)?));
        }
    }
    Ok(all)
}

/// Returns the identity files of daemons without a service that the user keeps in the directory `identities` beside that of the
/// services' files, by name.
pub(crate) fn identity_files() -> Result<Vec<PathBuf>, Failure> {
    let services = configuration_directory().map_err(no_place)?;
    files(&services.with_file_name("identities"), "json")
}

/// Returns the service that the user calls `name`, for a command that takes no files of services.
pub(crate) fn named(name: &str) -> Result<Selected, Failure> {
    called(name, |_| "give the name of a service, not a file; `running-process ps` lists all".to_owned())
}

/// Returns the service that the user calls `name`. `of_path` returns the hint about a name that is rather a path.
fn called(name: &str, of_path: impl Fn(&str) -> String) -> Result<Selected, Failure> {
    let directory = configuration_directory().map_err(no_place)?;
    let file = directory.join(format!("{name}.toml"));
    let is_file_name = Path::new(name).file_name() == Some(OsStr::new(name));
    if is_file_name && file.symlink_metadata().is_ok() {
        return Selected::of_label(name.to_owned(), file).map_err(|unusable| *unusable.failure);
    }
    let mut labels = Vec::new();
    for service in all()? {
        match service {
            Ok(selected) if selected.is_called(name) => return Ok(selected),
            Ok(Selected { label, .. }) | Err(Unusable { label, .. }) => labels.push(label),
        }
    }
    Err(unknown(name, &labels, &directory, of_path))
}

fn unknown(name: &str, labels: &[String], directory: &Path, of_path: impl Fn(&str) -> String) -> Failure {
    let distance = |label: &&String| strsim::osa_distance(label, name);
    let nearest = labels.iter().min_by_key(distance);
    let known = match nearest.filter(|nearest| 3 * distance(nearest) <= name.chars().count()) {
        Some(nearest) => format!("the nearest known one is {}", quoted(nearest)),
        None if labels.is_empty() => "there is none yet".to_owned(),
        None => format!("known are {}", listed(labels)),
    };
    let is_path = Path::new(name).components().count() > 1 || Path::new(name).extension().is_some();
    let hint = if is_path {
        of_path(&shell_word(Path::new(name)))
    } else {
        format!(
            "a service is a file {}, or has run before; `running-process ps` lists all",
            safe(directory.join("NAME.toml").display())
        )
    };
    let error = format!("no service is called {}, {known}", quoted(name));
    Failure::new(error, Advice::undecided("unknown_service").hint(hint))
}

/// Returns the names of all services, or the place of their files if there is none; `None` if they cannot be listed.
pub(crate) fn known_names() -> Option<String> {
    let directory = configuration_directory().ok()?;
    let labels = all().ok()?.into_iter().map(|service| {
        let (Ok(Selected { label, .. }) | Err(Unusable { label, .. })) = service;
        label
    });
    let labels: Vec<String> = labels.collect();
    if labels.is_empty() {
        let file = directory.join("NAME.toml");
        return Some(format!("no service is known yet: each is a file {}", safe(file.display())));
    }
    Some(format!("known services are {}", listed(&labels)))
}

/// Lists the first of these labels.
pub(crate) fn listed(labels: &[impl AsRef<str>]) -> String {
    const MOST: usize = 10;
    let mut shown: Vec<String> =
        labels.iter().take(MOST).map(|label| safe(label.as_ref()).to_string()).collect();
    if labels.len() > MOST {
        shown.push(format!("and {} more", labels.len() - MOST));
    }
    shown.join(", ")
}

/// Returns the files with this extension in `directory` by name; none if there is no such directory.
fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: io::Error| {
        let hint = match (std::env::var_os("XDG_CONFIG_HOME"), error.kind()) {
            (Some(_), io::ErrorKind::NotADirectory) if cfg!(all(unix, not(target_vendor = "apple"))) => {
                "set XDG_CONFIG_HOME to a directory, or unset it"
            }
            _ => "the files of services are in it: make it a directory that you can read",
        };
        Failure::from(error)
            .context(format!("the directory {} cannot be read", directory.display()))
            .hint(hint)
    };
    let entries = match directory.read_dir() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension() == Some(OsStr::new(extension)) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Returns the label of the service or the daemon whose file is at `path`.
pub(crate) fn label(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the failure of a service that has no place for its files.
pub(crate) fn no_place(error: PlaceError) -> Failure {
    let advice = advice::place(&error);
    Failure::new(error, advice)
}
