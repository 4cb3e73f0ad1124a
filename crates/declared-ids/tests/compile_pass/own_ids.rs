//! The ends of both ranges, attributes, visibilities and computed ids.

running_process::register_payload_protocol! { pub const NAME: u32 = 0x7A63; }

mod ids {
    running_process::register_payload_protocol! {
        /// The first of the registered consumers.
        pub(crate) const FIRST: u32 = 0x7000;
        pub const LAST: u32 = 0x7EFF;
        #[allow(dead_code)]
        const PRIVATE: u32 = 0xF000 + 1;
        pub(super) const LAST_PRIVATE: u32 = super::LARGEST;
    }
}

const LARGEST: u32 = 0xFFFF;

fn main() {
    assert_eq!(NAME, 0x7A63);
    assert_eq!([ids::FIRST, ids::LAST, ids::LAST_PRIVATE], [0x7000, 0x7EFF, 0xFFFF]);
}
