//! Circles of imports in small crates: found through re-exports, and only where there are any.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use running_process_check::circles::{check, rooms, roots};
use std::path::PathBuf;
use tempfile::TempDir;

/// Writes a crate and returns its folder, and its root.
fn krate(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let root = folder.path().join(files[0].0);
    (folder, root)
}

/// Returns the circles, each line without the folder of the crate.
fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let (folder, root) = krate(files);
    let folder = format!("{}/", folder.path().display());
    let found = check(&root).unwrap();
    found.iter().map(|circle| circle.lines().map(|line| line.replace(&folder, "")).collect()).collect()
}

#[test]
fn two_modules_that_import_each_other_are_a_circle() {
    let found = circles(&[
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
        ("b.rs", "pub struct B;\nimpl B {\n    fn a(&self) -> Option<super::a::A> { None }\n}\n"),
    ]);
    assert_eq!(found, [["a circle of 2 modules:", "  a uses b: a.rs:1", "  b uses a: b.rs:3"]]);
}

#[test]
fn a_re_export_leads_to_the_module_that_defines() {
    let found = circles(&[
        ("lib.rs", "mod a;\nmod b;\nmod prelude;\n"),
        ("prelude.rs", "pub(crate) use crate::a::{self, A as Renamed};\npub(crate) use crate::b::*;\n"),
        ("a.rs", "use crate::prelude::B;\npub struct A(B);\n"),
        ("b.rs", "use crate::prelude::Renamed;\npub struct B;\n"),
    ]);
    assert_eq!(found, [["a circle of 2 modules:", "  a uses b: a.rs:1", "  b uses a: b.rs:1"]]);
}

#[test]
fn a_parent_that_only_re_exports_is_in_no_circle() {
    let found = circles(&[
        ("lib.rs", "mod a;\nmod limits;\n"),
        ("a/mod.rs", "mod b;\nmod c;\npub use b::B;\npub use self::c::*;\n"),
        ("a/b.rs", "use super::C;\nuse crate::limits::MOST;\npub struct B(C, [u8; MOST]);\n"),
        ("a/c.rs", "pub struct C;\n"),
        ("limits.rs", "pub const MOST: usize = 3;\n"),
    ]);
    assert_eq!(found, Vec::<Vec<String>>::new());
}

#[test]
fn a_parent_that_uses_what_it_re_exports_is_in_a_circle() {
    let found = circles(&[
        ("lib.rs", "mod a;\n"),
        ("a.rs", "mod b;\npub use b::B;\npub struct A(B);\n"),
        ("a/b.rs", "pub struct B(Option<Box<super::A>>);\n"),
    ]);
    assert_eq!(found, [["a circle of 2 modules:", "  a uses a::b: a.rs:3", "  a::b uses a: a/b.rs:1"]]);
}

#[test]
fn a_path_through_an_imported_module_is_a_use() {
    let found = circles(&[
        ("lib.rs", "mod a;\nmod b { mod inner; pub(crate) fn b() { inner::c() } }\n"),
        ("a.rs", "use crate::b;\nfn a() { b::b() }\n"),
        ("b/inner.rs", "pub(crate) fn c() { let _ = crate::a::a as fn(); }\n"),
    ]);
    let three = [
        "a circle of 3 modules:",
        "  a uses b: a.rs:1,2",
        "  b uses b::inner: lib.rs:2",
        "  b::inner uses a: b/inner.rs:1",
    ];
    assert_eq!(found, [three]);
}

#[test]
fn tests_comments_strings_and_other_crates_are_left_out() {
    let found = circles(&[
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a.rs", "use crate::b::B;\npub struct A(B);\n"),
        (
            "b.rs",
            "// crate::a::A\nuse ::a::A;\nuse std::a::A as Other;\npub struct B;\nconst TEXT: &str = \"crate::a::A\";\n\
             #[cfg(test)]\nuse crate::a;\n#[cfg(all(unix, test))]\nmod tests;\nimpl B {\n    #[cfg(test)]\n    fn a() -> crate::a::A { B }\n}\n\
             #[cfg(test)]\nmod more { use crate::a::A; }\n",
        ),
    ]);
    assert_eq!(found, Vec::<Vec<String>>::new());
}

#[test]
fn files_that_cfg_chooses_between_are_looked_at_each() {
    let found = circles(&[
        (
            "lib.rs",
            "pub struct A;\n#[cfg(unix)]\n#[path = \"unix.rs\"]\nmod imp;\n#[cfg(windows)]\n#[path = \"win.rs\"]\nmod imp;\nfn f() { imp::f() }\n",
        ),
        ("unix.rs", "pub(crate) fn f() {}\n"),
        ("win.rs", "use super::A;\npub(crate) fn f() -> A { A }\n"),
    ]);
    assert_eq!(
        found,
        [["a circle of 2 modules:", "  the root uses imp: lib.rs:8", "  imp uses the root: win.rs:1"]]
    );
}

#[test]
fn rooms_hold_all_that_is_below_them() {
    let (_folder, root) = krate(&[
        ("lib.rs", "mod house { pub mod a; pub mod b; pub mod c { pub struct C; } }\n"),
        ("house/a.rs", "mod deep { use crate::house::b::B; }\n"),
        ("house/b.rs", "pub struct B;\nmod deep { use super::super::{a, c::C}; }\n"),
    ]);
    let found = rooms(&root, "house").unwrap().unwrap();
    assert_eq!(found.rooms, ["a", "b", "c"]);
    let arrows: Vec<(&str, &str)> = found.arrows.iter().map(|(from, to)| (&from[..], &to[..])).collect();
    assert_eq!(arrows, [("a", "b"), ("b", "a"), ("b", "c")]);
    assert_eq!(found.circles, [["a", "b"]]);
    assert!(rooms(&root, "nowhere").unwrap().is_none());
}

#[test]
fn programs_are_crates_of_their_own() {
    let (folder, root) = krate(&[
        ("main.rs", ""),
        ("lib.rs", ""),
        ("bin/a.rs", ""),
        ("bin/b/main.rs", "mod c;\n"),
        ("bin/b/c.rs", ""),
    ]);
    let found = roots(root.parent().unwrap()).unwrap();
    let found: Vec<_> =
        found.iter().map(|root| root.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
    assert_eq!(found, ["bin/a.rs", "bin/b/main.rs", "lib.rs", "main.rs"]);
}
