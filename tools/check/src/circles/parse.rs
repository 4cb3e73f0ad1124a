//! The modules of a crate, with their items, imports and paths. Tests are left out.

use crate::lexer::{Lexed, Token, lex};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// A module: a file, or an inline `mod`.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The names from the crate's root down; empty for the root.
    pub(super) path: Vec<String>,
    pub(super) file: PathBuf,
    pub(super) parent: Option<usize>,
    /// The modules in this one. One name has several where `cfg` chooses between files.
    pub(super) children: BTreeMap<String, Vec<usize>>,
    /// The names of items, modules apart.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    pub(super) uses: Vec<Use>,
}

/// One name of a `use`.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    /// The name that the module gets; none for a glob.
    pub(super) name: Option<String>,
    pub(super) line: usize,
    /// `true` if the import has a visibility.
    pub(super) is_exported: bool,
}

/// A path in an expression, a pattern or a type; of a single segment only if it may name an item.
#[derive(Debug)]
pub(super) struct Use {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// The modules of one crate. The first is the root.
#[derive(Debug, Default)]
pub(super) struct Crate {
    pub(super) modules: Vec<Module>,
    /// The module of each macro that is exported at the crate's root.
    pub(super) macros: BTreeMap<String, usize>,
}

impl Crate {
    /// Reads the crate whose root is the file `root`.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let mut new =
            Self { modules: vec![Module { file: root.into(), ..Module::default() }], ..Self::default() };
        let directory = root.parent().unwrap_or(Path::new(""));
        new.read_file(0, directory)?;
        Ok(new)
    }

    /// Reads the file of `module`, whose children are files in `directory`.
    fn read_file(&mut self, module: usize, directory: &Path) -> io::Result<()> {
        let file = &self.modules[module].file;
        let source = std::fs::read_to_string(file)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?;
        let mut tokens = lex(&source);
        tokens.retain(|lexed| !matches!(lexed.token, Token::Comment(_)));
        Parser { tokens: &tokens, at: 0, module, crate_: self, directory }.items()
    }
}

/// The attributes of one item.
#[derive(Default)]
struct Attributes {
    is_test: bool,
    is_exported_macro: bool,
    file: Option<String>,
}

struct Parser<'a> {
    tokens: &'a [Lexed<'a>],
    at: usize,
    module: usize,
    crate_: &'a mut Crate,
    directory: &'a Path,
}

impl<'a> Parser<'a> {
    fn token(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|lexed| lexed.token)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |lexed| lexed.line)
    }

    fn ident(&self, ahead: usize) -> Option<&'a str> {
        match self.token(ahead) {
            Some(Token::Ident(name)) => Some(name),
            _ => None,
        }
    }

    fn here(&mut self) -> &mut Module {
        &mut self.crate_.modules[self.module]
    }

    /// Parses all items up to the end of the file, or to the brace that closes an inline module.
    fn items(&mut self) -> io::Result<()> {
        while self.at < self.tokens.len() {
            if matches!(self.token(0), Some(Token::Close(_))) {
                break;
            }
            self.item()?;
        }
        Ok(())
    }

    fn item(&mut self) -> io::Result<()> {
        let attributes = self.attributes();
        if attributes.is_test {
            self.skip();
            return Ok(());
        }
        let is_exported = self.visibility();
        match self.ident(0) {
            Some("mod") => self.module(&attributes)?,
            Some("use") => self.import(is_exported),
            _ => self.definition(&attributes),
        }
        Ok(())
    }

    /// Passes the attributes of an item. An inner attribute that asks for a test passes the rest of the module.
    fn attributes(&mut self) -> Attributes {
        let mut found = Attributes::default();
        while self.token(0) == Some(Token::Punct('#')) {
            let is_inner = self.token(1) == Some(Token::Punct('!'));
            self.at += 1 + usize::from(is_inner);
            let start = self.at + 1;
            self.group();
            let tokens = &self.tokens[start.min(self.at)..self.at.saturating_sub(1)];
            let is_test = asks_for_test(tokens);
            if is_inner && is_test {
                self.at = self.tokens.len();
            }
            found.is_test |= is_test;
            found.is_exported_macro |=
                matches!(tokens, [Lexed { token: Token::Ident("macro_export"), .. }, ..]);
            if let [
                ..,
                Lexed { token: Token::Ident("path"), .. },
                _,
                Lexed { token: Token::Text(text), .. },
            ] = tokens
            {
                found.file = Some(text.trim_matches('"').to_owned());
            }
        }
        found
    }

    fn visibility(&mut self) -> bool {
        if self.ident(0) != Some("pub") {
            return false;
        }
        self.at += 1;
        if self.token(0) == Some(Token::Open('(')) {
            self.group();
        }
        true
    }

    /// Passes the group that opens here, or a single token.
    fn group(&mut self) {
        let mut depth = 0;
        while let Some(token) = self.token(0) {
            self.at += 1;
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth -= 1,
                _ => {}
            }
            if depth <= 0 {
                return;
            }
        }
    }

    /// Passes an item, a statement, a field, a variant or an arm of a match.
    fn skip(&mut self) {
        let needs_semicolon = self.needs_semicolon();
        loop {
            match self.token(0) {
                None | Some(Token::Close(_)) => return,
                Some(Token::Punct(';' | ',')) => {
                    self.at += 1;
                    return;
                }
                Some(Token::Open(open)) => {
                    self.group();
                    if open == '{' && !needs_semicolon {
                        return;
                    }
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// Returns whether the item here goes on after a group in braces.
    fn needs_semicolon(&self) -> bool {
        match self.ident(0) {
            Some("const") => !matches!(self.ident(1), Some("fn" | "unsafe" | "extern" | "async")),
            Some("static" | "type" | "let" | "use") => true,
            _ => false,
        }
    }

    fn module(&mut self, attributes: &Attributes) -> io::Result<()> {
        let Some(name) = self.ident(1) else {
            self.at += 1;
            return Ok(());
        };
        self.at += 2;
        let child = self.crate_.modules.len();
        let parent = self.module;
        let mut path = self.here().path.clone();
        path.push(name.to_owned());
        let file = self.here().file.clone();
        self.here().children.entry(name.to_owned()).or_default().push(child);
        self.crate_.modules.push(Module {
            path,
            file: file.clone(),
            parent: Some(parent),
            ..Module::default()
        });
        let below = self.directory.join(name);
        let is_inline = self.token(0) == Some(Token::Open('{'));
        self.at += 1;
        if is_inline {
            let (tokens, at, directory) = (self.tokens, self.at, &below);
            let mut inner = Parser { tokens, at, module: child, crate_: self.crate_, directory };
            inner.items()?;
            self.at = inner.at + 1;
            return Ok(());
        }
        let beside = file.parent().unwrap_or(Path::new(""));
        let (file, directory) = match &attributes.file {
            Some(given) => {
                let file = beside.join(given);
                // Its modules stand beside it, as those of a `mod.rs` do.
                let directory = file.parent().unwrap_or(beside).to_owned();
                (file, directory)
            }
            None if self.directory.join(format!("{name}.rs")).is_file() => {
                (self.directory.join(format!("{name}.rs")), below)
            }
            None => (below.join("mod.rs"), below),
        };
        self.crate_.modules[child].file = file;
        self.crate_.read_file(child, &directory)
    }

    fn import(&mut self, is_exported: bool) {
        self.at += 1;
        self.import_tree(&[], is_exported);
        while !matches!(self.token(0), None | Some(Token::Punct(';'))) {
            self.at += 1;
        }
        self.at += 1;
    }

    fn import_tree(&mut self, prefix: &[String], is_exported: bool) {
        let line = self.line();
        let mut path = prefix.to_vec();
        if self.token(0) == Some(Token::PathSep) {
            // Of another crate, whatever follows.
            path.push(String::new());
            self.at += 1;
        }
        loop {
            match self.token(0) {
                Some(Token::Ident(segment)) => {
                    self.at += 1;
                    if segment != "self" || path.is_empty() {
                        path.push(segment.to_owned());
                    }
                    if self.token(0) == Some(Token::PathSep) {
                        self.at += 1;
                        continue;
                    }
                    let mut name = path.last().cloned();
                    if self.ident(0) == Some("as") {
                        name = self.ident(1).map(str::to_owned);
                        self.at += 2;
                    }
                    self.here().imports.push(Import { path, name, line, is_exported });
                }
                Some(Token::Punct('*')) => {
                    self.at += 1;
                    self.here().imports.push(Import { path, name: None, line, is_exported });
                }
                Some(Token::Open('{')) => {
                    self.at += 1;
                    while !matches!(self.token(0), None | Some(Token::Close(_))) {
                        self.import_tree(&path, is_exported);
                        if self.token(0) == Some(Token::Punct(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                }
                _ => self.at += 1,
            }
            return;
        }
    }

    /// Parses an item that is neither a module nor an import: its name, and the paths in it.
    fn definition(&mut self, attributes: &Attributes) {
        const NAMED: [&str; 9] =
            ["fn", "struct", "enum", "union", "trait", "type", "const", "static", "macro"];
        let needs_semicolon = self.needs_semicolon();
        let mut is_named = false;
        while let Some(token) = self.token(0) {
            match token {
                Token::Ident("macro_rules") if self.token(1) == Some(Token::Punct('!')) => {
                    if let Some(name) = self.ident(2) {
                        self.here().items.insert(name.to_owned());
                        if attributes.is_exported_macro {
                            self.crate_.macros.insert(name.to_owned(), self.module);
                        }
                    }
                    self.at += 3;
                    is_named = true;
                }
                Token::Ident(keyword) if !is_named && NAMED.contains(&keyword) => {
                    self.at += 1;
                    if self.ident(0) == Some("mut") {
                        self.at += 1;
                    }
                    match self.ident(0) {
                        // `const fn`, `const unsafe fn`.
                        Some("fn" | "unsafe" | "async" | "extern") => continue,
                        Some(name) => {
                            self.here().items.insert(name.to_owned());
                            self.at += 1;
                        }
                        None => {}
                    }
                    is_named = true;
                }
                // The names in it are not the module's.
                Token::Ident("impl") if !is_named => {
                    self.at += 1;
                    is_named = true;
                }
                Token::Punct(';') => {
                    self.at += 1;
                    return;
                }
                Token::Open(open) => {
                    self.body();
                    if open == '{' && !needs_semicolon {
                        return;
                    }
                }
                Token::Close(_) => return,
                _ => self.path(),
            }
        }
    }

    /// Collects the paths in the group that opens here.
    fn body(&mut self) {
        self.at += 1;
        while let Some(token) = self.token(0) {
            match token {
                Token::Open(_) => self.body(),
                Token::Close(_) => {
                    self.at += 1;
                    return;
                }
                Token::Punct('#') if matches!(self.token(1), Some(Token::Open('[') | Token::Punct('!'))) => {
                    if self.attributes().is_test {
                        self.skip();
                    }
                }
                Token::Ident("use") if self.token(1) != Some(Token::Punct('<')) => self.import(false),
                _ => self.path(),
            }
        }
    }

    /// Collects the path that begins here, or passes one token.
    fn path(&mut self) {
        let line = self.line();
        let Some(first) = self.ident(0) else {
            // A path that begins with `::` is of another crate, and so is all of it.
            self.at += 1;
            let is_absolute = self.tokens[self.at - 1].token == Token::PathSep;
            let follows_type = self.at > 1 && self.tokens[self.at - 2].token == Token::Punct('>');
            while (is_absolute || follows_type)
                && self.ident(0).is_some()
                && self.tokens[self.at - 1].token == Token::PathSep
            {
                self.at += 1;
                if self.token(0) == Some(Token::PathSep) {
                    self.at += 1;
                }
            }
            return;
        };
        let is_member = self.at > 0 && self.tokens[self.at - 1].token == Token::Punct('.');
        let mut path = vec![first.to_owned()];
        self.at += 1;
        while let (Some(Token::PathSep), Some(segment)) = (self.token(0), self.ident(1)) {
            path.push(segment.to_owned());
            self.at += 2;
        }
        let names_item = path.len() > 1
            || first.starts_with(char::is_uppercase)
            || matches!(self.token(0), Some(Token::Open('(') | Token::Punct('!')));
        if names_item && !is_member {
            self.here().uses.push(Use { path, line });
        }
    }
}

/// Returns whether the attribute compiles its item only in tests: `test`, `cfg(test)` or `cfg(all(.., test, ..))`.
fn asks_for_test(attribute: &[Lexed<'_>]) -> bool {
    let tokens: Vec<Token<'_>> = attribute.iter().map(|lexed| lexed.token).collect();
    match &tokens[..] {
        [Token::Ident("test")] | [Token::Ident("cfg"), _, Token::Ident("test"), _] => true,
        [Token::Ident("cfg"), _, Token::Ident("all"), Token::Open(_), conditions @ ..] => {
            let mut depth = 0;
            conditions.iter().any(|token| {
                match token {
                    Token::Open(_) => depth += 1,
                    Token::Close(_) => depth -= 1,
                    _ => {}
                }
                depth == 0 && *token == Token::Ident("test")
            })
        }
        _ => false,
    }
}
