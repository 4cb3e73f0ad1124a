running_process::register_payload_protocol! {
    pub const NAME: u32 = 0x6FFF;
}

fn main() {}
