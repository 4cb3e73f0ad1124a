//! Escapes foreign text.
//!
//! Paths, fields of an identity file, the text of a refusal and a daemon's bytes may contain characters that control a terminal
//! or disguise a text. [`safe`] escapes all of them. [`write_line`] escapes once more what a command prints.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// Returns `text` on one line, with every [hostile](is_hostile) character escaped, for example as `\n` or `\u{1b}`.
pub(crate) fn safe(text: impl Display) -> impl Display {
    fmt::from_fn(move |formatter| write!(Escaping(formatter), "{text}"))
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, |_| false, self.0)
    }
}

/// Returns whether the character may control a terminal, is invisible, or reorders text.
///
/// These are controls (C0, C1, DEL), line separators, characters of the category Cf, and blank characters except the space.
pub(crate) fn is_hostile(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            // Zero width, marks and embeddings of direction, separators of lines and paragraphs.
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            // Tags, and further variation selectors.
            | '\u{e0000}'..='\u{e0fff}')
}

fn escape(text: &str, keeps: impl Fn(char) -> bool, to: &mut impl Write) -> fmt::Result {
    let mut rest = text;
    while let Some((at, char)) = rest.char_indices().find(|(_, char)| is_hostile(*char) && !keeps(*char)) {
        to.write_str(&rest[..at])?;
        match char {
            '\n' => to.write_str("\\n")?,
            '\r' => to.write_str("\\r")?,
            '\t' => to.write_str("\\t")?,
            char => write!(to, "{}", char.escape_unicode())?,
        }
        rest = &rest[at + char.len_utf8()..];
    }
    to.write_str(rest)
}

/// Returns `text` on one line in quotation marks, with them, backslashes and every [hostile](is_hostile) character escaped once.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        if matches!(char, '"' | '\\') {
            quoted.push('\\');
        }
        let _infallible = write!(quoted, "{}", safe(char));
    }
    quoted + "\""
}

/// Returns `path` as one word of a shell's command line.
pub(crate) fn shell_word(path: &Path) -> String {
    let text = safe(path.display()).to_string();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+:@%,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns the command line that moves `path` out of the way.
pub(crate) fn move_away(path: &Path) -> String {
    let mut away = path.as_os_str().to_owned();
    away.push(".away");
    format!("mv {} {}", shell_word(path), shell_word(Path::new(&away)))
}

/// Appends a text of this command to `line`. Line feeds stay, styles stay if `styled` is set, and every other hostile
/// character is escaped.
pub(crate) fn write_line(text: &str, styled: bool, line: &mut String) {
    let mut pieces = text.split('\x1b');
    let keeps = |char| char == '\n';
    let _infallible = escape(pieces.next().unwrap_or_default(), keeps, line);
    for piece in pieces {
        let style = piece.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        let rest = match style {
            Some((codes, rest)) if codes.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b';')) => {
                if styled {
                    let _infallible = write!(line, "\x1b[{codes}m");
                }
                rest
            }
            _ => {
                line.push_str("\\u{1b}");
                piece
            }
        };
        let _infallible = escape(rest, keeps, line);
    }
}

/// Formats a daemon's bytes for a terminal. Line feeds and tabs stay; other hostile characters and invalid UTF-8 are escaped.
pub(crate) fn payload_for_terminal(payload: &[u8]) -> String {
    let mut shown = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        for line in chunk.valid().split_inclusive('\n') {
            // A carriage return stays before a line feed; alone it would move the cursor back over the line.
            let (line, end) = match line.strip_suffix("\r\n") {
                Some(line) => (line, "\r\n"),
                None => (line, ""),
            };
            let _infallible = escape(line, |char| matches!(char, '\n' | '\t'), &mut shown);
            shown.push_str(end);
        }
        for byte in chunk.invalid() {
            let _infallible = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Returns the terminal columns of a text without styles. A wide East Asian character or an emoji takes two.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(char: char) -> usize {
    match char {
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// Cuts a text without styles to `width` columns, with `…` at the end if it is cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |char: &char| {
        let taken = char_columns(*char);
        let fits = taken <= left;
        left = left.saturating_sub(taken);
        fits
    };
    let mut short: String = text.chars().take_while(fits).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_characters_are_escaped_and_letters_are_not() {
        let hostile =
            "a\x1b[31mb\u{9b}c\u{7f}d\ne\r\tf\u{202e}g\u{2066}h\u{200b}i\u{2028}j\u{e0041}k\u{61c}l\u{feff}";
        let expected = "a\\u{1b}[31mb\\u{9b}c\\u{7f}d\\ne\\r\\tf\\u{202e}g\\u{2066}h\\u{200b}i\\u{2028}j\\u{e0041}k\\u{61c}l\\u{feff}";
        assert_eq!(safe(hostile).to_string(), expected);
        let letters = "C:\\temp\\naïve \"é\" e\u{301} 日本 🦀 \u{5d0}";
        assert_eq!(safe(letters).to_string(), letters);
    }

    #[test]
    fn a_quoted_text_is_escaped_once() {
        assert_eq!(quoted("a\x1b[8m \"b\" c\\d \u{e9}"), "\"a\\u{1b}[8m \\\"b\\\" c\\\\d \u{e9}\"");
    }

    #[test]
    fn a_path_is_one_word_of_a_command_line() {
        assert_eq!(shell_word(Path::new("/srv/a-b_c.d")), "/srv/a-b_c.d");
        assert_eq!(shell_word(Path::new("/srv/it's $HOME")), r"'/srv/it'\''s $HOME'");
        assert_eq!(move_away(Path::new("/srv/a b")), "mv '/srv/a b' '/srv/a b.away'");
    }

    #[test]
    fn styles_are_kept_or_dropped_and_other_sequences_are_escaped() {
        let line = |text, styled| {
            let mut line = String::new();
            write_line(text, styled, &mut line);
            line
        };
        let text = "\x1b[1mbold\x1b[0m\nnext \x1b[2J\x1b]0;title\x07 \x1b[38;5;9mred";
        assert_eq!(
            line(text, true),
            "\x1b[1mbold\x1b[0m\nnext \\u{1b}[2J\\u{1b}]0;title\\u{7} \x1b[38;5;9mred"
        );
        assert_eq!(line(text, false), "bold\nnext \\u{1b}[2J\\u{1b}]0;title\\u{7} red");
        assert_eq!(line("\x1b", true), "\\u{1b}");
    }

    #[test]
    fn a_payload_on_a_terminal_keeps_its_lines() {
        assert_eq!(payload_for_terminal(b"$5\r\nhello\r\n\ta\n"), "$5\r\nhello\r\n\ta\n");
        assert_eq!(payload_for_terminal(b"a\rb\x1b]0;x\x07\xff\xc3"), "a\\rb\\u{1b}]0;x\\u{7}\\xff\\xc3");
    }

    #[test]
    fn a_text_is_cut_by_columns() {
        assert_eq!((columns("abc"), columns("日本"), columns("e\u{301}")), (3, 4, 1));
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 5), "abcd…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!((cut("abc", 1), cut("abc", 0)), ("…".to_owned(), String::new()));
    }

    proptest! {
        #[test]
        fn no_text_keeps_a_hostile_character(text in any::<String>(), payload in any::<Vec<u8>>()) {
            prop_assert!(!safe(&text).to_string().contains(is_hostile));
            let mut line = String::new();
            write_line(&text, false, &mut line);
            prop_assert!(!line.contains(|char| char != '\n' && is_hostile(char)));
            let shown = payload_for_terminal(&payload);
            prop_assert!(!shown.contains(|char| !matches!(char, '\n' | '\t' | '\r') && is_hostile(char)));
            prop_assert_eq!(shown.matches('\r').count(), shown.matches("\r\n").count());
        }
    }
}
