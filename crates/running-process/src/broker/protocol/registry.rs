//! Payload-protocol ids and their ranges.
//!
//! | range | use |
//! | --- | --- |
//! | 0x0000 to 0x6FFF | reserved for first-party protocols |
//! | 0x7000 to 0x7EFF | registered consumers |
//! | 0x7F00 to 0xEFFF | reserved |
//! | 0xF000 to 0xFFFF | private use |
//!
//! A daemon declares its ids with [`register_payload_protocol!`](crate::register_payload_protocol), which checks them
//! while compiling.

use std::ops::RangeInclusive;

/// The protocol of `Hello`, `HelloReply` and refusals.
pub const CONTROL_PAYLOAD_PROTOCOL: u32 = 0x0000;
/// The protocol of administration.
pub const ADMIN_PAYLOAD_PROTOCOL: u32 = 0xAD01;
/// The protocol of the identity probe.
pub const BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL: u32 = 0xB232;
/// The protocol of connection handoff.
pub const HANDOFF_PAYLOAD_PROTOCOL: u32 = 0xD0FF;
/// The protocol of session streams.
pub const SESSION_PAYLOAD_PROTOCOL: u32 = 0x5350;

/// The ids that a daemon cannot serve as its own.
pub const FIRST_PARTY_PAYLOAD_PROTOCOLS: [u32; 5] = [
    CONTROL_PAYLOAD_PROTOCOL,
    ADMIN_PAYLOAD_PROTOCOL,
    BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL,
    HANDOFF_PAYLOAD_PROTOCOL,
    SESSION_PAYLOAD_PROTOCOL,
];

/// Ids of registered consumers.
pub const REGISTERED_CONSUMER_IDS: RangeInclusive<u32> = 0x7000..=0x7EFF;
/// Ids that anyone may use inside one product.
pub const PRIVATE_USE_IDS: RangeInclusive<u32> = 0xF000..=0xFFFF;

/// The registered consumers, by id.
pub const REGISTERED_CONSUMERS: [(u32, &str); 3] =
    [(0x7A63, "zccache"), (0x7C4C, "clud"), (0x7EB1, "fbuild")];

/// Returns whether `id` belongs to the wire itself.
#[must_use]
#[inline]
pub const fn is_first_party(id: u32) -> bool {
    matches!(
        id,
        CONTROL_PAYLOAD_PROTOCOL
            | ADMIN_PAYLOAD_PROTOCOL
            | BACKEND_HANDLE_PROBE_PAYLOAD_PROTOCOL
            | HANDOFF_PAYLOAD_PROTOCOL
            | SESSION_PAYLOAD_PROTOCOL
    )
}

/// Returns whether `id` is in the range of registered consumers.
#[must_use]
pub const fn is_registered_consumer_id(id: u32) -> bool {
    *REGISTERED_CONSUMER_IDS.start() <= id && id <= *REGISTERED_CONSUMER_IDS.end()
}

/// Returns whether `id` is in the private-use range.
#[must_use]
pub const fn is_private_use_id(id: u32) -> bool {
    *PRIVATE_USE_IDS.start() <= id && id <= *PRIVATE_USE_IDS.end()
}

/// Returns the registered consumer's name, if `id` is taken.
#[must_use]
pub fn registered_consumer(id: u32) -> Option<&'static str> {
    REGISTERED_CONSUMERS.iter().find(|(taken, _)| *taken == id).map(|(_, name)| *name)
}

/// Fails the build unless every id may be a daemon's own and occurs only once.
#[doc(hidden)]
#[track_caller]
pub const fn assert_registrable(ids: &[u32]) {
    let mut i = 0;
    while i < ids.len() {
        let id = ids[i];
        assert!(!is_first_party(id), "this payload protocol id is first-party: the wire itself uses it");
        assert!(
            is_registered_consumer_id(id) || is_private_use_id(id),
            "a payload protocol id is 0x7000 to 0x7EFF (registered) or 0xF000 to 0xFFFF (private use)"
        );
        let mut earlier = 0;
        while earlier < i {
            assert!(ids[earlier] != id, "two payload protocols have the same id");
            earlier += 1;
        }
        i += 1;
    }
}

/// Declares a daemon's payload-protocol ids as `u32` constants.
///
/// An id that is first-party, outside the registered and private-use ranges, or equal to another one of the same
/// invocation does not compile.
///
/// ```
/// running_process::register_payload_protocol! {
///     /// Requests to the cache.
///     pub const CACHE: u32 = 0xF00D;
///     const CACHE_ADMIN: u32 = 0xF00E;
/// }
/// assert_eq!((CACHE, CACHE_ADMIN), (0xF00D, 0xF00E));
/// ```
///
/// ```compile_fail
/// running_process::register_payload_protocol! { pub const PROBE: u32 = 0xB232; }
/// ```
#[macro_export]
macro_rules! register_payload_protocol {
    ($($(#[$attribute:meta])* $visibility:vis const $name:ident: u32 = $id:expr;)+) => {
        $($(#[$attribute])* $visibility const $name: u32 = $id;)+
        const _: () = $crate::broker::protocol::registry::assert_registrable(&[$($name),+]);
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_five_wire_protocols_are_first_party() {
        let first_party: Vec<u32> = (0..=0x1_0000).filter(|id| is_first_party(*id)).collect();
        assert_eq!(first_party, [0x0000, 0x5350, 0xAD01, 0xB232, 0xD0FF]);
        assert!(FIRST_PARTY_PAYLOAD_PROTOCOLS.into_iter().all(is_first_party));
    }

    #[test]
    fn the_ranges_end_where_the_table_says() {
        let registered: Vec<u32> = (0..=0x1_0000).filter(|id| is_registered_consumer_id(*id)).collect();
        assert_eq!((registered[0], registered[registered.len() - 1]), (0x7000, 0x7EFF));
        let private: Vec<u32> = (0..=0x1_0001).filter(|id| is_private_use_id(*id)).collect();
        assert_eq!((private[0], private[private.len() - 1]), (0xF000, 0xFFFF));
    }

    #[test]
    fn registered_consumers_have_ids_of_their_range() {
        assert!(REGISTERED_CONSUMERS.iter().all(|(id, _)| is_registered_consumer_id(*id)));
        assert_eq!(registered_consumer(0x7A63), Some("zccache"));
        assert_eq!(registered_consumer(0x7000), None);
    }
}
