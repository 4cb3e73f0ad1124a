running_process::register_payload_protocol! {
    pub const SESSION: u32 = 0x5350;
}

fn main() {}
