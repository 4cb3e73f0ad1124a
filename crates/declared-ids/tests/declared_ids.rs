//! The payload-protocol ids that a daemon can declare, with the compiler as the judge.

#[test]
#[cfg_attr(windows, ignore = "what compiles depends on no platform, and an emulated one has no compiler")]
fn an_id_that_is_not_a_daemons_to_use_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile_pass/*.rs");
    cases.compile_fail("tests/compile_fail/*.rs");
}
