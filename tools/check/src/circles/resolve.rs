//! The modules that paths lead to, through re-exports.

use super::parse::{Crate, Import, Module};
use std::collections::{BTreeMap, BTreeSet};

/// The lines with which each module uses another.
pub(super) type Arrows = BTreeMap<(usize, usize), BTreeSet<usize>>;

/// Returns the arrows between the modules of `krate`. A module that re-exports what is below it does not use it by that.
pub(super) fn arrows(krate: &Crate) -> Arrows {
    let mut arrows = Arrows::new();
    for (from, module) in krate.modules.iter().enumerate() {
        let mut add = |to: usize, line: usize| {
            if to != from {
                arrows.entry((from, to)).or_default().insert(line);
            }
        };
        for import in module.imports.iter().filter(|import| import.name.is_some()) {
            for to in Resolver::new(krate).path(from, &import.path) {
                if !(import.is_exported && krate.is_below(to, from)) {
                    add(to, import.line);
                }
            }
        }
        for used in &module.uses {
            // The import's own line says so already.
            let is_private =
                |import: &Import| !import.is_exported && import.name.as_ref() == used.path.first();
            if used.path.len() == 1 && module.imports.iter().any(is_private) {
                continue;
            }
            for to in Resolver::new(krate).path(from, &used.path) {
                add(to, used.line);
            }
        }
    }
    arrows
}

impl Crate {
    /// Returns whether `module` is `above`, or is in it.
    pub(super) fn is_below(&self, module: usize, above: usize) -> bool {
        module == above || self.modules[module].parent.is_some_and(|parent| self.is_below(parent, above))
    }
}

struct Resolver<'a> {
    krate: &'a Crate,
    /// The names that are being looked up: imports may lead in a circle.
    pending: Vec<(usize, String)>,
}

impl<'a> Resolver<'a> {
    fn new(krate: &'a Crate) -> Self {
        Self { krate, pending: Vec::new() }
    }

    fn module(&self, module: usize) -> &'a Module {
        &self.krate.modules[module]
    }

    /// Returns the modules that define the item, or are the module, at `path` in `from`. None for a path of another crate.
    fn path(&mut self, from: usize, path: &[String]) -> BTreeSet<usize> {
        let mut at = from;
        let mut rest = path;
        let mut is_rooted = false;
        while let [first, after @ ..] = rest {
            match first.as_str() {
                "crate" => at = 0,
                "self" => {}
                "super" => at = self.module(at).parent.unwrap_or(0),
                _ => break,
            }
            is_rooted = true;
            rest = after;
        }
        let found = self.lookup(at, rest);
        // A name that a macro made, or that the lookup is blind to, is where the path says.
        if found.is_empty() && is_rooted { BTreeSet::from([self.deepest(at, rest)]) } else { found }
    }

    /// Returns the last module on the way of `path` from `at`.
    fn deepest(&self, at: usize, path: &[String]) -> usize {
        let child = path.first().and_then(|name| self.module(at).children.get(name)?.first());
        child.map_or(at, |child| self.deepest(*child, &path[1..]))
    }

    fn lookup(&mut self, at: usize, path: &[String]) -> BTreeSet<usize> {
        let [name, rest @ ..] = path else { return BTreeSet::from([at]) };
        let module = self.module(at);
        let mut found = BTreeSet::new();
        let children = module.children.get(name).map_or(&[][..], Vec::as_slice);
        for child in children {
            found.extend(self.lookup(*child, rest));
        }
        if !children.is_empty() && !rest.is_empty() {
            return found;
        }
        if module.items.contains(name) {
            found.insert(at);
            return found;
        }
        let key = (at, name.clone());
        if self.pending.contains(&key) {
            return found;
        }
        self.pending.push(key);
        let mut is_imported = false;
        for import in module.imports.iter().filter(|import| import.name.as_ref() == Some(name)) {
            is_imported = true;
            let path: Vec<String> = import.path.iter().chain(rest).cloned().collect();
            found.extend(self.path(at, &path));
        }
        if !is_imported && found.is_empty() {
            for import in module.imports.iter().filter(|import| import.name.is_none()) {
                for glob in self.path(at, &import.path) {
                    if glob != at {
                        found.extend(self.lookup(glob, path));
                    }
                }
            }
        }
        self.pending.pop();
        if found.is_empty() && at == 0 {
            found.extend(self.krate.macros.get(name));
        }
        found
    }
}
