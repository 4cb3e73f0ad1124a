//! Units of systemd, as systemd.syntax(7), systemd.socket(5) and systemd.service(5) have them.

use super::unit_file::{MARK, UnitFile, inexpressible};
use super::units::Units;
use crate::failure::Failure;
use crate::services::Selected;
use running_process::broker::service::{Activation, ManagedStart, ServiceManager};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::Path;

pub(super) fn units(
    selected: &Selected,
    start: &ManagedStart,
    configuration: &Path,
) -> Result<Units, Failure> {
    let name = format!("running-process-{}", name(&selected.label));
    let socket = format!("{name}.socket");
    // The user's configuration directory has those of programs.
    let directory = configuration.ancestors().nth(2).unwrap_or(configuration).join("systemd/user");
    let file = |name: &str, text| UnitFile { path: directory.join(name), text };
    let service = format!("{name}.service");
    Ok(Units {
        files: vec![
            file(&socket, socket_unit(selected, start)?),
            file(&service, service_unit(selected, start, &socket)?),
        ],
        link: Some(directory.join("sockets.target.wants").join(&socket)),
        enable: vec!["systemctl --user daemon-reload".to_owned(), begins_listening(&socket)],
        disable: vec![ends_listening(&socket), "systemctl --user daemon-reload".to_owned()],
        activation: Activation { manager: ServiceManager::Systemd, unit: socket },
    })
}

/// Returns the command by which the unit listens, now and after each login.
pub(super) fn begins_listening(unit: &str) -> String {
    format!("systemctl --user enable --now {}", shell(unit))
}

/// Returns the command that ends the listening of the unit.
pub(super) fn ends_listening(unit: &str) -> String {
    format!("systemctl --user stop {}", shell(unit))
}

/// Returns `label` as a part of a unit's name; other characters than those of names are escaped by their bytes.
fn name(label: &str) -> String {
    label.bytes().fold(String::new(), |mut name, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(byte.into()),
            _ => {
                let _infallible = write!(name, "\\x{byte:02x}");
            }
        }
        name
    })
}

/// Returns the name as one word of a shell.
fn shell(name: &str) -> String {
    if name.contains('\\') { format!("'{name}'") } else { name.to_owned() }
}

fn socket_unit(selected: &Selected, start: &ManagedStart) -> Result<String, Failure> {
    let label = specifiers(&plain(&selected.label));
    let listen = raw("the path of the socket", start.socket.as_os_str())?;
    Ok(format!(
        "# {MARK}
[Unit]
Description=Socket of the service {label}

[Socket]
ListenStream={listen}
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target
"
    ))
}

fn service_unit(selected: &Selected, start: &ManagedStart, socket: &str) -> Result<String, Failure> {
    let label = specifiers(&plain(&selected.label));
    let mut text = format!(
        "# {MARK}
[Unit]
Description=Daemon of the service {label}
Requires={socket}

[Service]
Type=notify
ExecStart={}
",
        command(start)?
    );
    for (name, value) in &start.environment {
        let _infallible = writeln!(text, "Environment={}", variable(name, value)?);
    }
    let directory = raw("the directory", start.directory.as_os_str())?;
    let log = raw("the path of the log", start.log.as_os_str())?;
    let _infallible = write!(
        text,
        "WorkingDirectory={directory}
StandardOutput=append:{log}
StandardError=append:{log}
UMask=0022
"
    );
    Ok(text)
}

/// Returns the command line. The colon keeps `$` from being replaced.
fn command(start: &ManagedStart) -> Result<String, Failure> {
    let program = utf8("the program", start.program.as_os_str())?;
    if program.contains(|letter: char| matches!(letter, '"' | '\'' | '\\') || letter.is_control()) {
        let reason =
            "has a quote, a backslash or a control character, which systemd refuses in the path of a program";
        return Err(inexpressible("the program", program, reason));
    }
    let mut line = quoted(&format!(":{program}"));
    for argument in &start.arguments {
        line.push(' ');
        line += &quoted(utf8("the argument", argument)?);
    }
    Ok(line)
}

fn variable(name: &OsStr, value: &OsStr) -> Result<String, Failure> {
    let (name, value) = (utf8("the variable", name)?, utf8("the value", value)?);
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.starts_with(|letter: char| letter.is_ascii_digit()) || !name.chars().all(is_letter) {
        let reason = "is no name of a variable for systemd: letters, digits and _, and no digit first";
        return Err(inexpressible("the variable", name, reason));
    }
    if value.contains(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t')) {
        return Err(inexpressible(
            "the value",
            value,
            "has a control character, which systemd refuses in a variable",
        ));
    }
    Ok(quoted(&format!("{name}={value}")))
}

/// Returns the text as one word in quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            '%' => quoted += "%%",
            control if control.is_ascii_control() => {
                let _infallible = write!(quoted, "\\x{:02x}", u32::from(control));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the path as a whole value, in which only `%` has a meaning.
fn raw(what: &str, path: &OsStr) -> Result<String, Failure> {
    let path = utf8(what, path)?;
    if path.contains(char::is_control) || path.ends_with(['\\', ' ']) {
        return Err(inexpressible(
            what,
            path,
            "has a control character, or ends with a backslash or a blank",
        ));
    }
    Ok(specifiers(path))
}

fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// Returns the label without what would end its line.
fn plain(label: &str) -> String {
    label.replace(|letter: char| letter.is_control() || letter == '\\', "_")
}

fn utf8<'a>(what: &str, text: &'a OsStr) -> Result<&'a str, Failure> {
    text.to_str()
        .ok_or_else(|| inexpressible(what, &text.to_string_lossy(), "is not UTF-8, as a unit has to be"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_so_that_systemd_reads_them_as_they_are() {
        for (text, expected) in [
            ("plain", r#""plain""#),
            ("two words", r#""two words""#),
            (r#"a "b" \c"#, r#""a \"b\" \\c""#),
            ("100%h $HOME ${X}", r#""100%%h $HOME ${X}""#),
            ("a\nb\tc\x1b", r#""a\nb\tc\x1b""#),
            ("é日", r#""é日""#),
            ("", r#""""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn labels_become_names_of_units_and_different_ones_stay_different() {
        for (label, expected) in [
            ("cache-2.a_b", "cache-2.a_b"),
            ("my cache", r"my\x20cache"),
            ("a@b", r"a\x40b"),
            ("é", r"\xc3\xa9"),
            ("a/b", r"a\x2fb"),
            (r"a\x20b", r"a\x5cx20b"),
        ] {
            assert_eq!(name(label), expected);
        }
    }

    #[test]
    fn what_systemd_cannot_express_is_refused() {
        let refused = |failure: Result<String, Failure>| failure.unwrap_err().name();
        assert_eq!(refused(raw("the path", OsStr::new("/a\nb"))), "inexpressible_unit");
        assert_eq!(refused(raw("the path", OsStr::new("/a\\"))), "inexpressible_unit");
        assert_eq!(raw("the path", OsStr::new("/50% of é \"b\"")).unwrap(), "/50%% of é \"b\"");
        assert_eq!(refused(variable(OsStr::new("1A"), OsStr::new("x"))), "inexpressible_unit");
        assert_eq!(refused(variable(OsStr::new("A"), OsStr::new("\x01"))), "inexpressible_unit");
        assert_eq!(variable(OsStr::new("A_1"), OsStr::new("$x 5%")).unwrap(), r#""A_1=$x 5%%""#);
    }
}
