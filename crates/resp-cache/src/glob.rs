//! Glob patterns of KEYS and CONFIG GET, on bytes.
//!
//! | pattern | matches |
//! | --- | --- |
//! | `*` | any bytes |
//! | `?` | one byte |
//! | `[abc]`, `[a-z]` | one byte of the class |
//! | `[^a]` | one byte outside the class |
//! | `\` | the next byte literally |
//!
//! A class that is not closed ends with the pattern.

/// Returns whether all of `text` matches `pattern`, in at most `pattern.len() * text.len()` steps.
///
/// After a mismatch only the last `*` is tried again, one byte further. Earlier stars need no retry, because the last one
/// can match any bytes that they could. So a hostile pattern cannot cost more than that product.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // The pattern after the last star, and the text that the star has not matched yet.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            retry = Some((rest, text));
            pattern = rest;
            continue;
        }
        match (step(pattern, text), text, pattern) {
            (Some(rest), [_, tail @ ..], _) => (pattern, text) = (rest, tail),
            (_, [], []) => return true,
            _ => match retry {
                Some((after_star, [_, tail @ ..])) => {
                    retry = Some((after_star, tail));
                    (pattern, text) = (after_star, tail);
                }
                _ => return false,
            },
        }
    }
}

/// Matches the first byte of `text` and returns the rest of the pattern, which does not begin with a star.
fn step<'a>(pattern: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    let &byte = text.first()?;
    let (matched, rest) = match pattern {
        [] => (false, pattern),
        [b'?', rest @ ..] => (true, rest),
        [b'[', b'^', class @ ..] => {
            let (member, rest) = class_contains(class, byte);
            (!member, rest)
        }
        [b'[', class @ ..] => class_contains(class, byte),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte, rest),
    };
    matched.then_some(rest)
}

/// Returns whether the class at the start of `class` contains `byte`, and the pattern behind the class.
fn class_contains(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut member = false;
    loop {
        match class {
            [] => return (member, class),
            [b'\\', literal, rest @ ..] => {
                member |= *literal == byte;
                class = rest;
            }
            [b']', rest @ ..] => return (member, rest),
            [from, b'-', to, rest @ ..] => {
                member |= (*from.min(to)..=*from.max(to)).contains(&byte);
                class = rest;
            }
            [literal, rest @ ..] => {
                member |= *literal == byte;
                class = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::matches;
    use proptest::prelude::*;

    /// The expected values are the answers of KEYS of a Redis 5.0.6.
    #[test]
    fn patterns_match_as_they_do_in_redis() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*llo", "hllo", true),
            ("h*l", "hello", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hbllo", true),
            ("h[a-b]llo", "hcllo", false),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hello", false),
            (r"a\", r"a\", true),
            (r"[\]]", "]", true),
            (r"[\-a]", "-", true),
            (r"[a\", r"\", true),
            ("[abc", "c", true),
            ("[a-]", "]", true),
            ("[a-", "-", true),
            ("[]a]", "]a]", false),
            ("[^]", "x", true),
            ("[", "[", false),
            ("[^", "x", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ab-b", true),
            ("*a*b", "ba", false),
            ("a**", "a", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_on_a_long_text() {
        let pattern = "a*".repeat(200) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }

    /// Matches by definition, with full backtracking.
    fn defined(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|taken| defined(rest, &text[taken..])),
            _ => super::step(pattern, text).is_some_and(|rest| defined(rest, &text[1..])),
        }
    }

    proptest! {
        #[test]
        fn trying_only_the_last_star_again_loses_no_match(pattern in r"[ab*?\[\]^\\-]{0,8}", text in r"[ab\[\]^\\-]{0,8}") {
            prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), defined(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(pattern: Vec<u8>, text: Vec<u8>) {
            matches(&pattern, &text);
        }
    }
}
