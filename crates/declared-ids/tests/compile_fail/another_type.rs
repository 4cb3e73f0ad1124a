running_process::register_payload_protocol! {
    pub const NAME: u16 = 0x7A63;
}

fn main() {}
