running_process::register_payload_protocol! {
    pub const NAME: u32 = 0x1_0000;
}

fn main() {}
