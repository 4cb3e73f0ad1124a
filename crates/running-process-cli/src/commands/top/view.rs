//! Shows statuses: a picture that is redrawn, a table that grows, or JSON.

use super::interval::Interval;
use super::picture::{Past, picture};
use super::{object, row};
use crate::failure::Failure;
use crate::output::Output;
use crate::release::process;
use crate::screen::Screen;
use crate::text::safe;
use anstyle::Style;
use running_process::broker::backend_handle::DaemonProcess;
use running_process::broker::protocol::ServerStatus;

const BOLD: Style = Style::new().bold();

/// Number of rows between two headers of the table.
const ROWS_PER_HEADER: usize = 20;

/// The view of a daemon's status.
pub(super) struct View {
    daemon: DaemonProcess,
    /// Its process and its place.
    title: [String; 2],
    past: Past,
    /// The terminal, once a picture is redrawn on it.
    screen: Option<Screen>,
    /// Number of rows of the table printed so far.
    rows: usize,
}

impl View {
    /// Creates a view of `daemon`.
    pub(super) fn new(daemon: DaemonProcess) -> Self {
        let place = format!("at {}", daemon.ipc_endpoint.path);
        let title = [safe(process(&daemon)).to_string(), safe(place).to_string()];
        Self { daemon, title, past: Past::default(), screen: None, rows: 0 }
    }

    /// Lets further pictures be drawn over each other, if the output is a terminal.
    pub(super) fn redraw(&mut self, output: &Output) -> Result<(), Failure> {
        if output.is_screen() {
            self.screen = Some(Screen::new()?);
        }
        Ok(())
    }

    /// Shows a status and its difference to the one before.
    pub(super) fn show(
        &mut self,
        status: &ServerStatus,
        interval: &Interval,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if output.is_json() {
            return output.object(object::of(&self.daemon, status, interval));
        }
        if output.is_screen() {
            self.past.push(interval);
            let now = (status, interval);
            let lines = picture(&self.title, now, &self.past, Screen::room(output), output.glyphs());
            return match &mut self.screen {
                Some(screen) => screen.draw(&lines, output),
                None => output.line(lines.join("\n")),
            };
        }
        if self.rows.is_multiple_of(ROWS_PER_HEADER) {
            output.line(format_args!("{BOLD}{}{BOLD:#}", row::titles()))?;
        }
        self.rows += 1;
        output.line(row::of(status, interval))
    }
}
