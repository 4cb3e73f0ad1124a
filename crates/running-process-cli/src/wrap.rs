//! Wraps lines between their words.

use crate::text::columns;
use std::fmt::Write as _;

/// Indentation of a line that is to be copied as it is: a command, or a line of a log.
const VERBATIM: usize = 4;

/// Wraps the lines of a text that are wider than `width`. The rest of a line begins below its last column in the left half, or a
/// little behind its own beginning. A line that is indented by four blanks stays as it is.
pub(crate) fn fitted(text: &str, width: usize) -> String {
    let fitted = |line: &str| {
        let plain = anstream::adapter::strip_str(line).to_string();
        let begin = plain.len() - plain.trim_start().len();
        if columns(&plain) <= width || begin == VERBATIM {
            return line.to_owned();
        }
        let left: String = plain.chars().take(width / 2).collect();
        let gap = left.trim_end().rfind("  ").filter(|gap| *gap > begin);
        wrapped(line, width, gap.map_or(begin + 2, |gap| columns(&plain[..gap]) + 2), "")
    };
    text.split('\n').map(fitted).collect::<Vec<_>>().join("\n")
}

/// Wraps a line. Further lines begin with so many blanks, and `end` is at the end of each line but the last.
pub(crate) fn wrapped(line: &str, width: usize, indent: usize, end: &str) -> String {
    let indent = indent.min(width / 2);
    let mut wrapped = String::new();
    let mut used = 0;
    for word in words(line) {
        let plain = anstream::adapter::strip_str(word).to_string();
        if used > indent && used + columns(plain.trim_end()) + end.len() > width {
            let length = wrapped.trim_end().len();
            wrapped.truncate(length);
            let _infallible = write!(wrapped, "{end}\n{:indent$}", "");
            used = indent;
        }
        wrapped += word;
        used += columns(&plain);
    }
    wrapped.trim_end().to_owned()
}

/// Splits a line into words with the blanks behind them. Blanks between single quotes are part of a word, as in a shell, and so are those of a
/// command between backticks.
pub(crate) fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut begin, mut quote, mut is_blank) = (0, None, true);
    for (at, char) in line.char_indices() {
        if quote == Some(char) {
            quote = None;
        } else if quote.is_none() && is_blank && matches!(char, '\'' | '`') {
            quote = Some(char);
        }
        let blank = char == ' ' && quote.is_none();
        // The blanks at the start of a line are part of its first word.
        if is_blank && !blank && !line[..at].trim().is_empty() {
            words.push(&line[begin..at]);
            begin = at;
        }
        is_blank = blank;
    }
    words.push(&line[begin..]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_continues_below_its_last_column_in_the_left_half() {
        let status = "  socket   /run/user/1000/cache/socket and more words";
        assert_eq!(fitted(status, 32), "  socket   /run/user/1000/cache/socket\n           and more words");
        let error = "error: no service is called \"cahce\"";
        assert_eq!(fitted(error, 20), "error: no service is\n  called \"cahce\"");
        assert_eq!(fitted(error, 80), error);
    }

    #[test]
    fn a_command_to_copy_is_not_wrapped() {
        let text = "    chmod go-w a long path";
        assert_eq!(fitted(text, 10), text);
        assert_eq!(
            fitted("hint: now `chmod go-w path`, then", 24),
            "hint: now\n  `chmod go-w path`,\n  then"
        );
    }

    #[test]
    fn styles_take_no_room() {
        let styled = "\x1b[1mbold words\x1b[0m here";
        assert_eq!(fitted(styled, 15), styled);
        assert_eq!(fitted(styled, 10), "\x1b[1mbold words\x1b[0m\n  here");
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_none_that_fits_is_cut(text in "( {0,6}[a-zé日']{1,9}){0,12}", width in 1_usize..40) {
            let fitted = fitted(&text, width);
            let all = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(all(&fitted), all(&text));
        }
    }
}
