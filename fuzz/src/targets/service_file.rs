use crate::service_document::parse;

/// A service's file of any text is a service's, or a problem with a place inside the text and with advice.
pub(crate) fn run(input: &[u8]) {
    let text = input.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    if let Err(problem) = parse(text) {
        assert!(problem.at.is_none_or(|at| at <= text.len()), "{problem:?}");
        assert!(!problem.text.is_empty() && !problem.hint.is_empty(), "{problem:?}");
    }
}
