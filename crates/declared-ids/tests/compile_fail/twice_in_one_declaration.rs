running_process::register_payload_protocol! {
    pub const CACHE: u32 = 0xF00D;
    pub const ADMIN: u32 = 0xF00E;
    pub const CACHE_AGAIN: u32 = 0xF00D;
}

fn main() {}
