//! The order of versions: that of semantic versioning, for any number of numbers.

use std::cmp::Ordering;
use std::iter;

/// Returns the order of two versions by the precedence of semantic versioning 2.0.0, section 11; `None` if one of them is no version of numbers
/// that are separated by dots, or has an invalid prerelease.
///
/// Any count of numbers is taken, of any size, and missing ones are 0: `1.2` equals `1.2.0`. What follows `+` is ignored.
pub(super) fn precedence(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Version::parse(one)?, Version::parse(other)?);
    Some(one.compare_numbers(&other).then_with(|| one.compare_prereleases(&other)))
}

struct Version<'a> {
    numbers: &'a str,
    prerelease: Option<&'a str>,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, prerelease) =
            text.split_once('-').map_or((text, None), |(numbers, prerelease)| (numbers, Some(prerelease)));
        let are_identifiers = |text: &str, is_allowed: fn(u8) -> bool| {
            text.split('.').all(|part| !part.is_empty() && part.bytes().all(is_allowed))
        };
        let is_valid = are_identifiers(numbers, |byte| byte.is_ascii_digit())
            && prerelease.is_none_or(|text| {
                are_identifiers(text, |byte| byte.is_ascii_alphanumeric() || byte == b'-')
            });
        is_valid.then_some(Self { numbers, prerelease })
    }

    fn compare_numbers(&self, other: &Self) -> Ordering {
        let (mut ours, mut theirs) = (self.numbers.split('.'), other.numbers.split('.'));
        iter::from_fn(|| match (ours.next(), theirs.next()) {
            (None, None) => None,
            (ours, theirs) => Some(compare_digits(ours.unwrap_or("0"), theirs.unwrap_or("0"))),
        })
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
    }

    /// Compares the prereleases. A version without one is newer.
    fn compare_prereleases(&self, other: &Self) -> Ordering {
        match (self.prerelease, other.prerelease) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(ours), Some(theirs)) => {
                let (mut ours, mut theirs) = (ours.split('.'), theirs.split('.'));
                iter::from_fn(|| match (ours.next(), theirs.next()) {
                    (None, None) => None,
                    (Some(_), None) => Some(Ordering::Greater),
                    (None, Some(_)) => Some(Ordering::Less),
                    (Some(ours), Some(theirs)) => Some(compare_identifiers(ours, theirs)),
                })
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
            }
        }
    }
}

/// Compares two identifiers of a prerelease. A number is older than a text.
fn compare_identifiers(ours: &str, theirs: &str) -> Ordering {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match (is_number(ours), is_number(theirs)) {
        (true, true) => compare_digits(ours, theirs),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => ours.cmp(theirs),
    }
}

/// Compares two numbers by their decimal digits.
fn compare_digits(ours: &str, theirs: &str) -> Ordering {
    let (ours, theirs) = (ours.trim_start_matches('0'), theirs.trim_start_matches('0'));
    ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_have_the_order_of_semver() {
        // The examples of section 11, each older than the next.
        let ordered = [
            "0.9.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "2.0.0",
            "2.1.0",
            "2.1.1",
            "10.0.0",
            "99999999999999999999999999.0.0",
        ];
        for (place, one) in ordered.iter().enumerate() {
            for (other_place, other) in ordered.iter().enumerate() {
                assert_eq!(precedence(one, other), Some(place.cmp(&other_place)), "{one} and {other}");
            }
        }
    }

    #[test]
    fn missing_numbers_are_zero_and_what_follows_a_plus_is_ignored() {
        for (one, other) in [
            ("1", "1.0.0"),
            ("1.2", "1.2.0.0"),
            ("1.0+a", "1.0.0+b"),
            ("01.2", "1.02"),
            ("2026.11", "2026.11"),
        ] {
            assert_eq!(precedence(one, other), Some(Ordering::Equal), "{one} and {other}");
        }
        assert_eq!(precedence("1.2.3", "1.2.3.1"), Some(Ordering::Less));
    }

    #[test]
    fn other_texts_have_no_order() {
        for text in
            ["", "v1.0", "1.", ".1", "1..2", "one", "1.0-", "1.0-a..b", "1.0-ä", "1.x", "-1", "+1", "1.0 "]
        {
            for other in ["1.0", text] {
                assert_eq!(precedence(text, other), None, "{text:?} and {other:?}");
                assert_eq!(precedence(other, text), None, "{other:?} and {text:?}");
            }
        }
    }

    fn identifier() -> impl Strategy<Value = String> {
        prop_oneof!["0|[1-9][0-9]{0,3}", "[0-9]{0,2}[a-c-][0-9a-c-]{0,2}"]
    }

    fn version() -> impl Strategy<Value = String> {
        let prerelease = proptest::option::of(proptest::collection::vec(identifier(), 1..4));
        ("(0|[1-9][0-9]{0,2})(\\.(0|[1-9][0-9]?)){2}", prerelease, proptest::option::of("[0-9a-c]{1,3}"))
            .prop_map(|(numbers, prerelease, metadata)| {
                let prerelease = prerelease.map_or_else(String::new, |parts| format!("-{}", parts.join(".")));
                let metadata = metadata.map_or_else(String::new, |text| format!("+{text}"));
                format!("{numbers}{prerelease}{metadata}")
            })
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_the_crate_semver(one in version(), other in version()) {
            let parse = |text: &str| semver::Version::parse(text).unwrap();
            prop_assert_eq!(precedence(&one, &other), Some(parse(&one).cmp_precedence(&parse(&other))));
        }

        #[test]
        fn any_two_texts_have_opposite_orders_in_opposite_directions(
            one in "[0-2a.+-]{0,6}",
            other in "[0-2a.+-]{0,6}",
        ) {
            prop_assert_eq!(precedence(&one, &other), precedence(&other, &one).map(Ordering::reverse));
        }

        #[test]
        fn the_order_is_transitive(
            mut versions in proptest::collection::vec("[0-2](\\.[0-2]){0,3}(-[01a](\\.[01a])?)?", 3),
        ) {
            versions.sort_by(|one, other| precedence(one, other).unwrap());
            prop_assert_ne!(precedence(&versions[0], &versions[2]), Some(Ordering::Greater));
        }
    }
}
