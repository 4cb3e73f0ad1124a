//! The header that is checked in is the one of the sources. `RECORD=1 cargo test -p running-process-ffi --test header` rewrites it.

use std::path::Path;

#[test]
fn the_header_is_current() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(crate_folder.join("cbindgen.toml")).unwrap();
    let builder = cbindgen::Builder::new().with_config(config).with_src(crate_folder.join("src/lib.rs"));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    let header = String::from_utf8(header).unwrap();
    let path = crate_folder.join("../../include/running_process.h");
    if std::env::var_os("RECORD").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap();
    let lines = header.lines().zip(checked_in.lines());
    for (number, (now, recorded)) in lines.enumerate() {
        assert_eq!(now, recorded, "line {} of {}", number + 1, path.display());
    }
    assert_eq!(header.len(), checked_in.len(), "one of the headers ends earlier");
}
