//! Tokens of Rust source, with their lines.

/// A token, as far as the checks tell tokens apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// An identifier or keyword; a raw identifier without its `r#`.
    Ident(&'a str),
    /// The separator of paths, `::`.
    PathSep,
    /// `(`, `[` or `{`.
    Open(char),
    /// `)`, `]` or `}`.
    Close(char),
    /// Any other character of punctuation, alone.
    Punct(char),
    /// A string, with its quotes.
    Text(&'a str),
    /// A number, a character or a lifetime.
    Other,
    /// A comment, with its slashes.
    Comment(&'a str),
}

/// A token and the line on which it begins, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lexed<'a> {
    /// The token.
    pub token: Token<'a>,
    /// The line on which the token begins.
    pub line: usize,
}

/// Returns all tokens of `source`, comments included. Source that no compiler accepts gives some tokens.
#[must_use]
pub fn lex(source: &str) -> Vec<Lexed<'_>> {
    let mut rest = source;
    let mut line = 1;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let length = length(rest, first);
        let (text, after) = rest.split_at(length);
        if let Some(token) = token(text, first) {
            tokens.push(Lexed { token, line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    tokens
}

fn token(text: &str, first: char) -> Option<Token<'_>> {
    if first.is_whitespace() {
        return None;
    }
    Some(match first {
        '/' if text.len() > 1 => Token::Comment(text),
        ':' if text.len() > 1 => Token::PathSep,
        '(' | '[' | '{' => Token::Open(first),
        ')' | ']' | '}' => Token::Close(first),
        _ if text.ends_with(['"', '#']) && text.contains('"') => Token::Text(text),
        _ if starts_ident(first) => Token::Ident(text.strip_prefix("r#").unwrap_or(text)),
        '\'' | '0'..='9' => Token::Other,
        _ => Token::Punct(first),
    })
}

/// Returns the bytes of the token at the start of `rest`, whose first character is `first`.
fn length(rest: &str, first: char) -> usize {
    if first.is_whitespace() {
        rest.find(|char: char| !char.is_whitespace()).unwrap_or(rest.len())
    } else if rest.starts_with("//") {
        rest.find('\n').unwrap_or(rest.len())
    } else if rest.starts_with("/*") {
        block_comment(rest)
    } else if rest.starts_with("::") {
        2
    } else if let Some(length) = string(rest) {
        length
    } else if starts_ident(first) {
        let raw = if rest.starts_with("r#") { 2 } else { 0 };
        raw + word(&rest[raw..])
    } else if first.is_ascii_digit() {
        let length = word(rest);
        let fraction =
            rest[length..].strip_prefix('.').filter(|tail| tail.starts_with(|c: char| c.is_ascii_digit()));
        length + fraction.map_or(0, |tail| 1 + word(tail))
    } else if first == '\'' {
        char_or_lifetime(rest)
    } else {
        first.len_utf8()
    }
}

fn starts_ident(char: char) -> bool {
    char.is_alphabetic() || char == '_'
}

fn word(rest: &str) -> usize {
    rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len())
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let tail = &rest.as_bytes()[at..];
        if tail.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// Returns the bytes of the string at the start of `rest`, if there is one: plain, raw, of bytes or of C.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let body = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let text = body[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = text.find(&end).map_or(text.len(), |at| at + end.len());
        return Some(prefix.len() + hashes + 1 + length);
    }
    let text = body.strip_prefix('"')?;
    Some(prefix.len() + 1 + quoted(text, '"'))
}

/// Returns the bytes up to and with `quote`, past what a backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if !escaped && char == quote {
            return at + 1;
        }
        escaped = !escaped && char == '\\';
    }
    text.len()
}

fn char_or_lifetime(rest: &str) -> usize {
    let body = &rest[1..];
    let mut chars = body.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => 1 + quoted(body, '\''),
        _ => 1 + word(body),
    }
}

#[cfg(test)]
mod tests {
    use super::Token::{Close, Comment, Ident, Open, Other, PathSep, Punct, Text};
    use super::lex;

    #[test]
    fn strings_comments_and_lifetimes_are_one_token_each() {
        let source = "a::b('{', '\\'', 'x, r#\"// \"no\" \"#, b\"\\\"\", 1.5e3) /* /* { */ */ // end\nr#type";
        let tokens: Vec<_> = lex(source).into_iter().map(|lexed| lexed.token).collect();
        let comma = Punct(',');
        assert_eq!(
            tokens,
            [
                Ident("a"),
                PathSep,
                Ident("b"),
                Open('('),
                Other,
                comma,
                Other,
                comma,
                Other,
                comma,
                Text("r#\"// \"no\" \"#"),
                comma,
                Text("b\"\\\"\""),
                comma,
                Other,
                Close(')'),
                Comment("/* /* { */ */"),
                Comment("// end"),
                Ident("type"),
            ]
        );
    }

    #[test]
    fn a_token_has_the_line_on_which_it_begins() {
        let lines: Vec<_> =
            lex("a\n\"two\nlines\" b\n\n// c\nd").into_iter().map(|lexed| lexed.line).collect();
        assert_eq!(lines, [1, 2, 3, 5, 6]);
    }

    #[test]
    fn a_byte_character_and_a_range_of_numbers_are_told_apart() {
        let tokens: Vec<_> = lex("b'\"' 0..9").into_iter().map(|lexed| lexed.token).collect();
        assert_eq!(tokens, [Ident("b"), Other, Other, Punct('.'), Punct('.'), Other]);
    }
}
