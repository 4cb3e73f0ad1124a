//! Summaries and headings that hide what they are about.
//!
//! A summary is the first line of a comment: of rustdoc, of a module, or of a plain comment that stands before an item.

use crate::git;
use crate::lexer::{Lexed, Token, lex};
use std::error::Error;
use std::fmt;

/// A line that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file, relative to the repository.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The rule.
    pub rule: &'static str,
    /// The text of the line.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.text)
    }
}

const VERB: &str = "begin with a verb or a noun";
const DOER: &str = "say who does it, \"Has it done\" hides that";
const WORD: &str = "one word says nothing";
const HEADING: &str = "state the decision, or ask the reader's question";

/// Words that begin a clause where a verb or a noun belongs.
const OPENERS: [&str; 19] = [
    "What",
    "Whatever",
    "Who",
    "Whoever",
    "Whom",
    "Whose",
    "Which",
    "Whichever",
    "Why",
    "Whether",
    "How",
    "However",
    "Nobody",
    "Somebody",
    "Someone",
    "Anybody",
    "Anyone",
    "Everybody",
    "Everyone",
];

/// Checks all Rust files and documents below `paths`, or in the repository without any.
///
/// # Errors
///
/// git cannot list the files, or one of them cannot be read.
pub fn check(paths: &[String]) -> Result<Vec<Fault>, Box<dyn Error>> {
    let mut arguments = vec!["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"];
    arguments.extend(paths.iter().map(String::as_str));
    let mut faults = Vec::new();
    for file in git(&arguments)?.split_terminator('\0') {
        let check = match file.rsplit_once('.') {
            Some((stem, "rs")) if !stem.ends_with("/generated") => rust,
            Some((_, "md")) => markdown,
            _ => continue,
        };
        // A file that was moved is listed until the move is staged.
        let Ok(text) = std::fs::read_to_string(crate::repository().join(file)) else { continue };
        faults.extend(check(file, &text));
    }
    Ok(faults)
}

/// Checks the comments of a Rust file.
#[must_use]
pub fn rust(file: &str, source: &str) -> Vec<Fault> {
    let tokens = lex(source);
    let mut faults = Vec::new();
    let mut at = 0;
    while let Some(block) = block(&tokens, at) {
        at = block.end;
        let Some((line, summary)) = block.lines.iter().find(|(_, text)| !text.is_empty()) else { continue };
        let words: usize = block.lines.iter().map(|(_, text)| text.split_whitespace().count()).sum();
        let is_doc = block.marker != "//";
        let rule = if is_doc && words == 1 {
            WORD
        } else if !is_doc && !begins_item(&tokens[block.end..]) {
            continue;
        } else if let Some(rule) = opener(summary) {
            rule
        } else {
            continue;
        };
        faults.push(Fault { file: file.to_owned(), line: *line, rule, text: (*summary).to_owned() });
    }
    faults
}

/// Comments of one kind on lines that follow each other.
struct Block<'a> {
    marker: &'static str,
    lines: Vec<(usize, &'a str)>,
    /// The first token after the block.
    end: usize,
}

/// Returns the first block at or after the token `from`.
fn block<'a>(tokens: &[Lexed<'a>], from: usize) -> Option<Block<'a>> {
    let own_line = |at: usize| at == 0 || tokens[at - 1].line != tokens[at].line;
    let start = (from..tokens.len()).find(|at| own_line(*at) && comment(tokens[*at].token).is_some())?;
    let (marker, _) = comment(tokens[start].token)?;
    let mut lines: Vec<(usize, &str)> = Vec::new();
    for lexed in &tokens[start..] {
        match comment(lexed.token) {
            Some((kind, text)) if kind == marker && lexed.line == tokens[start].line + lines.len() => {
                lines.push((lexed.line, text));
            }
            _ => break,
        }
    }
    Some(Block { marker, end: start + lines.len(), lines })
}

fn comment(token: Token<'_>) -> Option<(&'static str, &str)> {
    let Token::Comment(text) = token else { return None };
    ["///", "//!", "//"].into_iter().find_map(|marker| Some((marker, text.strip_prefix(marker)?.trim())))
}

/// Returns whether an item begins with the first of `tokens` that is no comment.
fn begins_item(tokens: &[Lexed<'_>]) -> bool {
    const ITEMS: [&str; 16] = [
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "pub",
        "static",
        "struct",
        "trait",
        "type",
        "union",
        "unsafe",
        "use",
    ];
    let first = tokens.iter().map(|lexed| lexed.token).find(|token| !matches!(token, Token::Comment(_)));
    match first {
        Some(Token::Ident(word)) => ITEMS.contains(&word),
        Some(Token::Punct('#')) => true,
        _ => false,
    }
}

fn opener(summary: &str) -> Option<&'static str> {
    let first = first_word(summary);
    match first {
        "Has" => Some(DOER),
        _ if OPENERS.iter().any(|word| word.eq_ignore_ascii_case(first)) => Some(VERB),
        _ => None,
    }
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start_matches(['*', '_', '"', '(']);
    text.split(|char: char| !char.is_alphabetic()).next().unwrap_or("")
}

/// Checks the headings of a document. A heading may be a question.
#[must_use]
pub fn markdown(file: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut in_code = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let heading = text.trim_start_matches('#');
        if in_code || heading.len() == text.len() || !heading.starts_with(' ') {
            continue;
        }
        let heading =
            heading.trim().trim_start_matches(|char: char| char.is_ascii_digit() || ". ".contains(char));
        if !heading.ends_with('?') && opener(heading).is_some() {
            faults.push(Fault { file: file.to_owned(), line, rule: HEADING, text: text.to_owned() });
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::{Fault, markdown, rust};

    fn lines(faults: &[Fault]) -> Vec<usize> {
        faults.iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn a_summary_that_begins_with_a_clause_is_refused() {
        let source = "//! What this is.\n\n/// Whose turn it is.\nfn a() {}\n/// Returns why.\n///\n/// What else.\nfn b() {}\n\
            // How it goes.\nfn c() {}\n/// Has `job` done.\nfn d() {}\n    /// **Which** one.\nfield: u8,\n";
        assert_eq!(lines(&rust("a.rs", source)), [1, 3, 9, 11, 13]);
    }

    #[test]
    fn a_plain_comment_is_a_summary_only_before_an_item() {
        let source = "fn a() {\n    // What comes is read.\n    read();\n    x(); // Which is all.\n}\n// Why.\n#[cfg(unix)]\nmod b;\n";
        assert_eq!(lines(&rust("a.rs", source)), [6]);
    }

    #[test]
    fn a_blank_line_ends_a_comment() {
        let source = "// Returns nothing.\n\n// Who calls it.\nfn a() {}\n";
        assert_eq!(lines(&rust("a.rs", source)), [3]);
    }

    #[test]
    fn one_word_is_no_documentation() {
        let source = "/// Which.\na: u8,\n/// Unix.\nb: u8,\n/// Two words.\nc: u8,\n// Unix.\nmod d;\n";
        assert_eq!(lines(&rust("a.rs", source)), [1, 3]);
    }

    #[test]
    fn comments_in_strings_are_no_comments() {
        assert_eq!(rust("a.rs", "const A: &str = \"\n/// What.\n\";\n"), []);
    }

    #[test]
    fn a_heading_is_a_statement_or_a_question() {
        let text = "# Names\n## What it costs\n## How do I stop a daemon?\n```sh\n# What\n```\n## 2. Who reads\n#What\n";
        assert_eq!(lines(&markdown("a.md", text)), [2, 7]);
    }
}
