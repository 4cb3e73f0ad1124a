running_process::register_payload_protocol! {
    pub const PROBE: u32 = 0xB232;
}

fn main() {}
