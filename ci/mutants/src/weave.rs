//! Source text with all of its mutants, each behind a switch.

use proc_macro2::{LineColumn, Span};
use std::collections::HashMap;
use std::ops::Range;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// A mutant as cargo-mutants lists it.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The number of its switch, from 1 up.
    pub id: usize,
    pub genre: String,
    /// The bytes that it replaces.
    pub span: Range<usize>,
    pub replacement: String,
}

/// A piece of the woven text that belongs to one mutant, or to all mutants of one place.
#[derive(Debug)]
pub struct Region {
    pub bytes: Range<usize>,
    pub ids: Vec<usize>,
}

/// Woven text, and the mutants that have no place in it.
#[derive(Debug)]
pub struct Woven {
    pub text: String,
    pub regions: Vec<Region>,
    pub without_place: Vec<usize>,
}

/// An expression, or a list of statements, before and behind which text is inserted.
struct Place {
    bytes: Range<usize>,
    /// The branches: the mutant, and its text up to where the next one begins.
    branches: Vec<(usize, String)>,
    before: String,
    after: String,
}

/// Returns the offset of a line and a column, both from 1 up, the column in characters.
pub fn offset(source: &str, line: usize, column: usize) -> usize {
    let start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    start + source[start..].chars().take(column - 1).map(char::len_utf8).sum::<usize>()
}

/// Weaves the mutants of one file into its text.
///
/// # Errors
///
/// The text is no Rust.
pub fn weave(source: &str, mutants: &[Mutant]) -> syn::Result<Woven> {
    let file = syn::parse_file(source)?;
    let mut by_start: HashMap<(String, usize), Vec<Mutant>> = HashMap::new();
    for mutant in mutants {
        by_start.entry((mutant.genre.clone(), mutant.span.start)).or_default().push(mutant.clone());
    }
    let lines = line_starts(source);
    let mut finder = Finder { source, lines, by_start, places: Vec::new() };
    finder.bodies();
    finder.visit_file(&file);
    let without_place = finder.by_start.into_values().flatten().map(|mutant| mutant.id).collect();
    let (text, regions) = insert(source, &finder.places);
    Ok(Woven { text, regions, without_place })
}

fn line_starts(source: &str) -> Vec<usize> {
    let ends = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

/// Inserts the text of all places. Outer places begin before inner ones and end behind them.
fn insert(source: &str, places: &[Place]) -> (String, Vec<Region>) {
    // The offset, ends before beginnings, the order among those of one offset, the place.
    let mut insertions = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let length = place.bytes.len();
        insertions.push((place.bytes.start, 1, usize::MAX - length, index, false));
        insertions.push((place.bytes.end, 0, length, usize::MAX - index, true));
    }
    insertions.sort_unstable();
    let (mut text, mut regions, mut copied) = (String::with_capacity(2 * source.len()), Vec::new(), 0);
    let mut begun = vec![0; places.len()];
    for (at, _, _, index, ends) in insertions {
        text.push_str(&source[copied..at]);
        copied = at;
        let index = if ends { usize::MAX - index } else { index };
        let place = &places[index];
        if ends {
            text.push_str(&place.after);
            let ids = place.branches.iter().map(|(id, _)| *id).collect();
            regions.push(Region { bytes: begun[index]..text.len(), ids });
        } else {
            begun[index] = text.len();
            for (id, branch) in &place.branches {
                let start = text.len();
                text.push_str(branch);
                regions.push(Region { bytes: start..text.len(), ids: vec![*id] });
            }
            text.push_str(&place.before);
        }
    }
    text.push_str(&source[copied..]);
    (text, regions)
}

struct Finder<'a> {
    source: &'a str,
    lines: Vec<usize>,
    /// The mutants that have no place yet, by genre and first byte.
    by_start: HashMap<(String, usize), Vec<Mutant>>,
    places: Vec<Place>,
}

impl Finder<'_> {
    fn take(&mut self, genre: &str, start: usize) -> Vec<Mutant> {
        self.by_start.remove(&(genre.to_owned(), start)).unwrap_or_default()
    }

    fn at(&self, place: LineColumn) -> usize {
        let start = self.lines[place.line - 1];
        start + self.source[start..].chars().take(place.column).map(char::len_utf8).sum::<usize>()
    }

    fn bytes(&self, span: Span) -> Range<usize> {
        self.at(span.start())..self.at(span.end())
    }

    /// A function that returns another value does so before its first statement.
    fn bodies(&mut self) {
        let bodies: Vec<_> = self.by_start.keys().filter(|(genre, _)| genre == "FnValue").cloned().collect();
        for (genre, start) in bodies {
            let mutants = self.take(&genre, start);
            let bytes = mutants[0].span.clone();
            let branches = mutants
                .iter()
                .map(|mutant| {
                    (
                        mutant.id,
                        format!("if crate::mutant({}) {{ return {}; }} ", mutant.id, mutant.replacement),
                    )
                })
                .collect();
            self.places.push(Place { bytes, branches, before: String::new(), after: String::new() });
        }
    }

    /// Makes the expression one of several, of which the last is the original.
    fn choose(&mut self, bytes: Range<usize>, alternatives: Vec<(usize, String)>) {
        let mut branches = Vec::new();
        for (index, (id, text)) in alternatives.into_iter().enumerate() {
            let begin = if index == 0 { "(if" } else { " else if" };
            branches.push((id, format!("{begin} crate::mutant({id}) {{ {text} }}")));
        }
        if !branches.is_empty() {
            self.places.push(Place { bytes, branches, before: " else { ".into(), after: " })".into() });
        }
    }

    /// Returns the original text of `whole` with `replacement` in the place of `part`.
    fn replaced(&self, whole: &Range<usize>, part: &Range<usize>, replacement: &str) -> String {
        format!("{}{replacement}{}", &self.source[whole.start..part.start], &self.source[part.end..whole.end])
    }
}

/// Returns whether the condition binds names, so that it cannot stand within parentheses.
fn binds(condition: &syn::Expr) -> bool {
    match condition {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) if matches!(binary.op, syn::BinOp::And(_)) => {
            binds(&binary.left) || binds(&binary.right)
        }
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let operator = self.bytes(binary.op.span());
        if !binds(&binary.left) && !binds(&binary.right) {
            let whole = self.bytes(binary.span());
            let mutants = self.take("BinaryOperator", operator.start);
            let alternatives = mutants
                .iter()
                .map(|mutant| (mutant.id, self.replaced(&whole, &operator, &mutant.replacement)))
                .collect();
            self.choose(whole, alternatives);
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let (whole, operator) = (self.bytes(unary.span()), self.bytes(unary.op.span()));
        let mutants = self.take("UnaryOperator", operator.start);
        let alternatives = mutants
            .iter()
            .map(|mutant| (mutant.id, self.replaced(&whole, &operator, &mutant.replacement)))
            .collect();
        self.choose(whole, alternatives);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let whole = self.bytes(arm.span());
        let pattern = self.bytes(arm.pat.span());
        let deleted = self.take("MatchArm", whole.start);
        let off = |mutant: &Mutant| format!("!crate::mutant({}) && ", mutant.id);
        match &arm.guard {
            None => {
                let branches: Vec<_> =
                    deleted.iter().map(|mutant| (mutant.id, format!(" if {}true", off(mutant)))).collect();
                if !branches.is_empty() {
                    let bytes = pattern.end..pattern.end;
                    self.places.push(Place { bytes, branches, before: String::new(), after: String::new() });
                }
            }
            Some((_, guard)) if !binds(guard) => {
                let bytes = self.bytes(guard.span());
                let mut branches: Vec<_> = deleted.iter().map(|mutant| (mutant.id, off(mutant))).collect();
                let mut before = String::new();
                for mutant in self.take("MatchArmGuard", bytes.start) {
                    let on = mutant.replacement == "true";
                    let id = mutant.id;
                    branches.push((
                        id,
                        if on {
                            format!("(crate::mutant({id}) || ")
                        } else {
                            format!("(!crate::mutant({id}) && ")
                        },
                    ));
                    before.push('(');
                }
                let after = ")".repeat(2 * before.len());
                if !branches.is_empty() {
                    self.places.push(Place { bytes, branches, before, after });
                }
            }
            Some(_) => {}
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
        let whole = self.bytes(expression.span());
        let mut alternatives = Vec::new();
        for pair in expression.fields.pairs() {
            let mut field = self.bytes(pair.value().span());
            let mutants = self.take("StructField", field.start);
            if let Some(comma) = pair.punct() {
                field.end = self.bytes(comma.span()).end;
            }
            alternatives.extend(mutants.iter().map(|mutant| (mutant.id, self.replaced(&whole, &field, ""))));
        }
        self.choose(whole, alternatives);
        visit::visit_expr_struct(self, expression);
    }
}
