running_process::register_payload_protocol! {
    pub const NAME: u32 = 0x7F00;
}

fn main() {}
