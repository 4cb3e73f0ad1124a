//! The characters of charts.

use std::env;

/// The characters of charts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Glyphs {
    /// Blocks of Unicode, to an eighth of a character.
    #[default]
    Blocks,
    /// ASCII only.
    Ascii,
}

impl Glyphs {
    /// Returns ASCII if that is `asked` for or if the terminal or the locale has no more, else blocks.
    pub(crate) fn choose(asked: bool) -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
        let is_utf8 = cfg!(windows) || locale.is_some_and(|locale| names_utf8(&locale));
        let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
        if asked || is_dumb || !is_utf8 { Self::Ascii } else { Self::Blocks }
    }

    /// Returns a bar of `count / most` of `columns`. A count above zero has a visible bar.
    pub(super) fn bar(self, count: u64, most: u64, columns: usize) -> String {
        const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let eighths = u128::from(count) * columns as u128 * 8 / u128::from(most.max(1));
        let eighths = usize::try_from(eighths).unwrap_or(usize::MAX).max(usize::from(count > 0));
        match self {
            Self::Blocks => "█".repeat(eighths / 8) + EIGHTHS[eighths % 8],
            Self::Ascii if eighths < 8 => ".".repeat(eighths.min(1)),
            Self::Ascii => "#".repeat(eighths / 8),
        }
    }

    /// Returns a character that is filled from below, by at most eight `eighths`.
    pub(super) fn filled(self, eighths: usize) -> char {
        let levels = match self {
            Self::Blocks => [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Ascii => [' ', '_', '.', '.', ':', ':', '|', '|', '#'],
        };
        levels[eighths.min(8)]
    }

    /// Returns the vertical axis at a row that has a number, or at one that has none.
    pub(super) fn axis(self, has_number: bool) -> char {
        match (self, has_number) {
            (Self::Blocks, true) => '┤',
            (Self::Blocks, false) => '│',
            (Self::Ascii, _) => '|',
        }
    }

    /// Returns a text of this command in the characters that are shown.
    pub(crate) fn spell(self, text: String) -> String {
        match self {
            Self::Blocks => text,
            Self::Ascii => text.replace('µ', "u").replace('…', "~"),
        }
    }
}

/// Returns whether the locale's encoding is UTF-8, as in `C.UTF-8` and `de_DE.utf8@euro`.
fn names_utf8(locale: &str) -> bool {
    let encoding = locale.split_once('.').map_or("", |(_, encoding)| encoding);
    let encoding = encoding.split('@').next().unwrap_or_default();
    encoding.eq_ignore_ascii_case("UTF-8") || encoding.eq_ignore_ascii_case("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_of_a_locale_is_behind_its_dot() {
        for utf8 in ["C.UTF-8", "en_US.utf8", "de_DE.UTF-8@euro", ".utf-8"] {
            assert!(names_utf8(utf8), "{utf8}");
        }
        for other in ["C", "POSIX", "en_US.ISO-8859-1", "utf8", "de_DE@euro"] {
            assert!(!names_utf8(other), "{other}");
        }
    }

    #[test]
    fn a_bar_shows_its_share_and_at_least_that_it_is_there() {
        let bars = |glyphs: Glyphs| [0, 1, 50, 55, 100].map(|count| glyphs.bar(count, 100, 10));
        assert_eq!(bars(Glyphs::Blocks), ["", "▏", "█████", "█████▌", "██████████"]);
        assert_eq!(bars(Glyphs::Ascii), ["", ".", "#####", "#####", "##########"]);
        assert_eq!(Glyphs::Blocks.bar(u64::MAX, u64::MAX, 3), "███");
    }

    #[test]
    fn units_are_spelled_in_ascii_if_nothing_else_is_shown() {
        assert_eq!(Glyphs::Ascii.spell("10.5µs cut…".to_owned()), "10.5us cut~");
        assert_eq!(Glyphs::Blocks.spell("10.5µs".to_owned()), "10.5µs");
    }
}
