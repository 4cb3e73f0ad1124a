//! `ps`: lists all services, and daemons whose identity files are known.

mod other_sockets;
mod row;

use crate::cli::PsArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::screen::Screen;
use crate::services::{self, Selected, Unusable, identity_files, on_threads, survey};
use crate::table::Table;
use crate::text::cut;
use crate::verdict::Verdict;
use crate::wire::counted;
use crate::wrap::fitted;
use row::{COLUMNS, Row};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub(super) fn run(arguments: &PsArgs, output: &mut Output) -> Result<Verdict, Failure> {
    if arguments.names {
        return names(output);
    }
    if let Some(interval) = arguments.watch.then_some(arguments.interval) {
        return watch(interval, arguments, output);
    }
    let list = List::of(arguments)?;
    let width = output.size().map(|(columns, _)| columns);
    list.print(&list.lines(width), output)?;
    if arguments.all {
        other_sockets::print(&list.sockets(), arguments.ask, arguments.deadline, output)?;
    }
    Ok(if list.is_told() { Verdict::Yes } else { Verdict::Undecided })
}

/// Prints the names of services for scripts. A name that a shell would interpret is left out.
fn names(output: &mut Output) -> Result<Verdict, Failure> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    for service in services::all()? {
        let (Ok(Selected { label, .. }) | Err(Unusable { label, .. })) = service;
        if label.chars().all(is_plain) {
            output.part(format_args!("{label}\n"))?;
        }
    }
    output.flush()?;
    Ok(Verdict::Yes)
}

/// Shows the list again each interval: on a terminal in place, until its reader has closed its end.
fn watch(interval: Duration, arguments: &PsArgs, output: &mut Output) -> Result<Verdict, Failure> {
    let mut screen = if output.is_screen() { Some(Screen::new()?) } else { None };
    let mut due = Instant::now();
    while !output.is_closed() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let list = List::of(arguments)?;
        match &mut screen {
            Some(screen) => screen.draw(&list.picture(Screen::room(output)), output)?,
            None => {
                list.print(&list.lines(None), output)?;
                output.line("")?;
            }
        }
        due = Instant::now().max(due + interval);
    }
    Ok(Verdict::Yes)
}

/// All services, as one look finds them.
struct List {
    at: SystemTime,
    rows: Vec<Row>,
}

impl List {
    /// Looks at all that are asked for: those with a daemon or a fault come first, each part in the order of the labels.
    fn of(arguments: &PsArgs) -> Result<Self, Failure> {
        let PsArgs { labels, deadline, .. } = arguments;
        let is_asked = |label: &String| labels.is_empty() || labels.contains(label);
        let at = SystemTime::now();
        let mut rows = Vec::new();
        let mut services = Vec::new();
        for service in services::all()? {
            match service {
                Ok(selected) if is_asked(&selected.label) => services.push(selected),
                Err(unusable) if is_asked(&unusable.label) => rows.push(Row::unusable(unusable)),
                _ => {}
            }
        }
        let mut identity_files = identity_files()?;
        identity_files.retain(|path| is_asked(&services::label(path)));
        for label in labels {
            let is_found = services.iter().any(|service| service.label == *label)
                || rows.iter().any(|row: &Row| row.label == *label)
                || identity_files.iter().any(|path| services::label(path) == *label);
            if !is_found {
                services.push(services::named(label)?);
            }
        }
        rows.extend(survey(services, *deadline).into_iter().map(Row::of_service));
        let until = Instant::now() + *deadline;
        rows.extend(on_threads(identity_files, |path| Row::of_identity_file(&path, until)));
        rows.sort_by(|one, other| (one.is_absent(), &one.label).cmp(&(other.is_absent(), &other.label)));
        Ok(Self { at, rows })
    }

    /// Returns the sockets of these, and the directories with nothing but sockets of these.
    fn sockets(&self) -> Vec<PathBuf> {
        self.rows.iter().flat_map(Row::sockets).collect()
    }

    /// Returns whether the state of each service could be told.
    fn is_told(&self) -> bool {
        self.rows.iter().all(|row| row.is_told)
    }

    /// Formats the list as lines of at most `width` columns, if there is a width. Notes about faults follow the table.
    fn lines(&self, width: Option<usize>) -> Vec<String> {
        if self.rows.is_empty() {
            return vec!["no services".to_owned()];
        }
        let mut table = Table::new(COLUMNS);
        self.rows.iter().for_each(|row| table.row(row.cells()));
        let mut lines = table.lines(width);
        lines.extend(self.rows.iter().filter_map(|row| row.note.clone()));
        lines
    }

    /// Formats the list as a picture of so many columns and rows at most.
    fn picture(&self, (columns, rows): (usize, usize)) -> Vec<String> {
        let lines = self.lines(Some(columns));
        let wrapped: Vec<String> = lines.iter().map(|line| fitted(line, columns)).collect();
        let mut picture: Vec<String> =
            wrapped.iter().flat_map(|line| line.split('\n')).map(str::to_owned).collect();
        if picture.len() > rows {
            let hidden = picture.len() - (rows - 1);
            picture.truncate(rows - 1);
            picture.push(format!("{} below the end of the terminal", counted(hidden, "more line")));
        }
        // A word may still be too long. The lines of the table, which have styles, fit.
        let fits = |line: String| if line.contains('\x1b') { line } else { cut(&line, columns) };
        picture.into_iter().map(fits).collect()
    }

    /// Prints the list: these lines, or each service as an object.
    fn print(&self, lines: &[String], output: &mut Output) -> Result<(), Failure> {
        for row in &self.rows {
            output.partial_object(row.object(self.at))?;
        }
        output.line(lines.join("\n"))
    }
}
