//! JSON objects, one on each line.

use crate::text::is_hostile;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Version of all objects that `--json` prints, which docs/json.md describes. It grows when a field changes its meaning or
/// goes away.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// Returns `object` with the version of its schema, on one line.
pub(crate) fn object_line(object: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::new();
    // Writing to memory does not fail, and the keys of all objects are strings.
    let _infallible = write_object(object, &mut line);
    line
}

/// Writes `object` with the version of its schema, on one line.
pub(crate) fn write_object(object: &impl Serialize, to: impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        schema_version: u32,
        #[serde(flatten)]
        object: &'a T,
    }

    let mut to = to;
    let mut serializer = serde_json::Serializer::with_formatter(&mut to, Escaping);
    Versioned { schema_version: SCHEMA_VERSION, object }.serialize(&mut serializer)?;
    to.write_all(b"\n")
}

/// A JSON formatter that escapes hostile characters which JSON permits, such as DEL, C1 and marks of direction. A parser
/// reads the same values.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        // DEL is the only control character in ASCII that JSON does not escape.
        if text.is_ascii() && !text.as_bytes().contains(&0x7f) {
            return writer.write_all(text.as_bytes());
        }
        while let Some((at, char)) = rest.char_indices().find(|(_, char)| is_hostile(*char)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in char.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + char.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escaping_changes_no_value(text in any::<String>(), key in any::<String>()) {
            let object = serde_json::json!({ "text": text, "of": { key: [text] } });
            let line = String::from_utf8(object_line(&object)).unwrap();
            prop_assert!(!line.trim_end_matches('\n').contains(is_hostile));
            let mut read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read.as_object_mut().unwrap().remove("schema_version"), Some(SCHEMA_VERSION.into()));
            prop_assert_eq!(read, object);
        }
    }
}
