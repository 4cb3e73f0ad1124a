//! The property list of launchd, as launchd.plist(5) has it.

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
    let name = format!("running-process.{}", name(&selected.label));
    // `~/Library/Application Support/running-process/services`
    let library = configuration.ancestors().nth(3).unwrap_or(configuration);
    let path = library.join("LaunchAgents").join(format!("{name}.plist"));
    let text = property_list(&name, start)?;
    let shown = path.display().to_string().replace('\'', r"'\''");
    Ok(Units {
        files: vec![UnitFile { path, text }],
        link: None,
        enable: vec![format!("launchctl bootstrap gui/$(id -u) '{shown}'")],
        disable: vec![ends_listening(&name)],
        activation: Activation { manager: ServiceManager::Launchd, unit: name },
    })
}

/// Returns the command by which the job listens, now and after each login.
pub(super) fn begins_listening(job: &str) -> String {
    format!("launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/{job}.plist")
}

/// Returns the command that ends the listening of the job.
pub(super) fn ends_listening(job: &str) -> String {
    format!("launchctl bootout gui/$(id -u)/{job}")
}

/// Returns `label` as a part of the name of a job.
fn name(label: &str) -> String {
    label.bytes().fold(String::new(), |mut name, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => name.push(byte.into()),
            _ => {
                let _infallible = write!(name, "_{byte:02x}");
            }
        }
        name
    })
}

fn property_list(name: &str, start: &ManagedStart) -> Result<String, Failure> {
    let mut arguments = format!("    <string>{}</string>\n", xml("the program", start.program.as_os_str())?);
    for argument in &start.arguments {
        let _infallible = writeln!(arguments, "    <string>{}</string>", xml("the argument", argument)?);
    }
    let mut environment = String::new();
    for (name, value) in &start.environment {
        let (name, value) = (xml("the variable", name)?, xml("the value", value)?);
        let _infallible = writeln!(environment, "    <key>{name}</key>\n    <string>{value}</string>");
    }
    let directory = xml("the directory", start.directory.as_os_str())?;
    let socket = xml("the path of the socket", start.socket.as_os_str())?;
    let log = xml("the path of the log", start.log.as_os_str())?;
    // 384 is the mode 0600, 18 the mask 022. The daemon asks for the socket by its name in the dictionary.
    Ok(format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- {MARK} -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{name}</string>
  <key>ProgramArguments</key>
  <array>
{arguments}  </array>
  <key>EnvironmentVariables</key>
  <dict>
{environment}  </dict>
  <key>WorkingDirectory</key>
  <string>{directory}</string>
  <key>StandardOutPath</key>
  <string>{log}</string>
  <key>StandardErrorPath</key>
  <string>{log}</string>
  <key>Umask</key>
  <integer>18</integer>
  <key>Sockets</key>
  <dict>
    <key>socket</key>
    <dict>
      <key>SockPathName</key>
      <string>{socket}</string>
      <key>SockPathMode</key>
      <integer>384</integer>
    </dict>
  </dict>
</dict>
</plist>
"#
    ))
}

/// Returns the text as the content of an element.
fn xml(what: &str, text: &OsStr) -> Result<String, Failure> {
    let Some(text) = text.to_str() else {
        return Err(inexpressible(
            what,
            &text.to_string_lossy(),
            "is not UTF-8, as a property list has to be",
        ));
    };
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            '\n' => escaped += "&#10;",
            '\t' => escaped += "&#9;",
            '\r' => escaped += "&#13;",
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                return Err(inexpressible(what, text, "has a control character, which XML cannot have"));
            }
            letter => escaped.push(letter),
        }
    }
    Ok(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_for_xml() {
        let escaped = xml("the value", OsStr::new("a <b> & \"c\" 'd'\n% $é")).unwrap();
        assert_eq!(escaped, "a &lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;&#10;% $é");
        assert_eq!(xml("the value", OsStr::new("\x01")).unwrap_err().name(), "inexpressible_unit");
    }

    #[test]
    fn labels_become_names_of_jobs_and_different_ones_stay_different() {
        for (label, expected) in
            [("cache-2", "cache-2"), ("a b", "a_20b"), ("a_20b", "a_5f20b"), ("é", "_c3_a9")]
        {
            assert_eq!(name(label), expected);
        }
    }
}
