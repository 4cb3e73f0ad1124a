//! Texts for `CreateProcessW`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;

use super::plan::SpawnPlan;

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

/// Returns the units of `text` and a NUL.
pub(super) fn terminated(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut units: Vec<u16> = text.encode_wide().collect();
    if units.contains(&0) {
        return Err(invalid(format!("\"{}\" contains a NUL", text.display())));
    }
    units.push(0);
    Ok(units)
}

/// Returns the command line, with a NUL, from which the program's runtime reads the same arguments.
///
/// # Errors
///
/// The program is a batch file: its interpreter reads arguments by other rules, so some would be run as commands.
pub(super) fn command_line(plan: &SpawnPlan<'_>) -> io::Result<Vec<u16>> {
    if is_batch_file(plan.program) {
        return Err(invalid(format!("{} is a batch file, which is no daemon", plan.program.display())));
    }
    // The name of a program ends at the next quote, and cannot contain one.
    let mut line = vec![QUOTE];
    line.extend(plan.program.as_os_str().encode_wide());
    line.push(QUOTE);
    for argument in plan.arguments {
        line.push(u16::from(b' '));
        quote(argument, &mut line);
    }
    if line.contains(&0) {
        return Err(invalid("an argument contains a NUL".to_owned()));
    }
    line.push(0);
    Ok(line)
}

fn is_batch_file(program: &Path) -> bool {
    // The system leaves out spaces and dots at the end of a name.
    let name = program.as_os_str().to_string_lossy();
    let extension = Path::new(name.trim_end_matches([' ', '.'])).extension();
    extension
        .is_some_and(|extension| ["bat", "cmd"].iter().any(|batch| extension.eq_ignore_ascii_case(batch)))
}

/// Appends `argument` as the rules of the C runtime say: backslashes before a quote are doubled, and the quote gets one.
fn quote(argument: &OsStr, line: &mut Vec<u16>) {
    line.push(QUOTE);
    let mut backslashes = 0;
    for unit in argument.encode_wide() {
        if unit == BACKSLASH {
            backslashes += 1;
        } else {
            if unit == QUOTE {
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
            }
            backslashes = 0;
        }
        line.push(unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}

/// Returns the block of variables, sorted as the system expects, with two NULs at the end.
pub(super) fn environment(variables: &[(OsString, OsString)]) -> io::Result<Vec<u16>> {
    let mut sorted: Vec<_> = variables.iter().collect();
    sorted.sort_by_key(|(name, _)| name.to_ascii_uppercase());
    let mut block = Vec::new();
    for (name, value) in sorted {
        // A name of the system's own may begin with `=`.
        if name.is_empty() || name.encode_wide().skip(1).any(|unit| unit == u16::from(b'=')) {
            return Err(invalid(format!("\"{}\" is no name of an environment variable", name.display())));
        }
        let mut variable = name.clone();
        variable.push("=");
        variable.push(value);
        block.extend(terminated(&variable)?);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    Ok(block)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(argument: &str) -> String {
        let mut line = Vec::new();
        quote(OsStr::new(argument), &mut line);
        String::from_utf16(&line).unwrap()
    }

    #[test]
    fn an_argument_is_quoted_as_the_runtime_reads_it() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("a b"), r#""a b""#);
        assert_eq!(quoted(r#"a"b"#), r#""a\"b""#);
        assert_eq!(quoted(r"a\b"), r#""a\b""#);
        assert_eq!(quoted(r"a\"), r#""a\\""#);
        assert_eq!(quoted(r#"a\\"b"#), r#""a\\\\\"b""#);
    }

    #[test]
    fn variables_are_sorted_and_the_block_ends_in_two_nuls() {
        let variables =
            [("b", "1"), ("A", ""), ("=C:", r"C:\")].map(|(name, value)| (name.into(), value.into()));
        let block = String::from_utf16(&environment(&variables).unwrap()).unwrap();
        assert_eq!(block, "=C:=C:\\\0A=\0b=1\0\0");
        assert_eq!(environment(&[]).unwrap(), [0, 0]);
        for name in ["", "a=b", "a\0"] {
            assert!(environment(&[(name.into(), "".into())]).is_err(), "{name}");
        }
    }

    #[test]
    fn batch_files_are_recognized() {
        for name in [r"C:\a.bat", r"C:\a.CMD", r"C:\a.bat. ."] {
            assert!(is_batch_file(Path::new(name)), "{name}");
        }
        assert!(!is_batch_file(Path::new(r"C:\bat.exe")));
    }
}
