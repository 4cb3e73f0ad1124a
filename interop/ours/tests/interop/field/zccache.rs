//! The compile cache zccache.

use super::*;
use crate::support::skip::installed;

#[test]
fn the_daemon_of_zccache_is_proven_by_its_identity_file_while_its_client_compiles() {
    let Some(field) = Field::installed() else { return };
    field.run("zccache", &["start"]);
    let file = field.file(".running-process.json");
    assert_zeros_in(&file);
    let daemon = try_read_daemon_identity_file(&file).unwrap().unwrap();
    assert!(matches!(daemon.exe_digests, ExeDigests::Blake3(_)), "{daemon:?}");
    assert_eq!(field.ask(Path::new(&daemon.ipc_endpoint.path)), daemon);
    let handle = assert_proven(&daemon, &file);
    assert_altered_is_refused(&daemon);
    field.assert_listed(&daemon);
    field.assert_known(&daemon, &file);
    // Its own client uses it meanwhile, and the proof holds.
    if installed("cc") {
        fs::write(field.path("empty.c"), "int main(void) { return 0; }\n").unwrap();
        let (source, object) = (field.path("empty.c"), field.path("empty.o"));
        let [source, object] = [&source, &object].map(|path| path.to_str().unwrap());
        for _ in ["compiled", "from the cache"] {
            field.run("zccache", &["wrap", "cc", "-c", source, "-o", object]);
            fs::remove_file(object).unwrap();
        }
        let status: Value = serde_json::from_str(&field.run("zccache", &["status", "--json"])).unwrap();
        let counts = ["total_compilations", "cache_hits"].map(|count| status["daemon"][count].clone());
        assert_eq!(counts, [json!(2), json!(1)], "{status:#}");
    }
    assert!(handle.is_alive());
    handle.connect().unwrap();
    // After a compilation this version sometimes takes the request to end and goes on, so the handle ends what is left.
    field.run("zccache", &["stop"]);
    handle.shutdown(DEADLINE).unwrap();
    assert_ended(&handle, &file);
}
