//! A file of 1 GiB that servers have open, without the memory of one: it is a hole.

use crate::party::LARGEST;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use tempfile::NamedTempFile;

/// Length of the file, in bytes.
const LENGTH: u64 = 1 << 30;

/// The position of the byte that a client reads: the last one.
const LAST: u64 = LENGTH - 1;

/// The payload that asks for the file.
pub const REQUEST: &[u8] = b"artifact";

/// The payload that asks for a part of the file starts so. The position of the part follows: eight bytes, the lowest first.
const PART_REQUEST: &[u8] = b"part";

/// Returns the file, open for reading only.
pub fn file() -> &'static File {
    static ARTIFACT: LazyLock<File> = LazyLock::new(|| {
        let file = NamedTempFile::new().expect("a temporary file");
        file.as_file().set_len(LENGTH).expect("a file system with holes");
        File::open(file.path()).expect("it was made")
    });
    &ARTIFACT
}

/// Checks the last byte, which `read_at` reads by position.
pub fn check<E: std::fmt::Debug>(read_at: impl FnOnce(&mut [u8], u64) -> Result<usize, E>) {
    let mut byte = [0xff];
    assert_eq!(read_at(&mut byte, LAST).unwrap(), 1);
    assert_eq!(byte, [0]);
}

/// Returns the requests for all parts, each as large as a payload may be.
pub fn part_requests() -> impl Iterator<Item = Vec<u8>> {
    (0..LENGTH).step_by(LARGEST).map(|position| [PART_REQUEST, &position.to_le_bytes()].concat())
}

/// Returns the bytes of a part, if `request` asks for one.
pub fn part(request: &[u8]) -> Option<Vec<u8>> {
    let position = u64::from_le_bytes(request.strip_prefix(PART_REQUEST)?.try_into().ok()?);
    let mut bytes = vec![0; LARGEST.min((LENGTH - position) as usize)];
    file().read_exact_at(&mut bytes, position).expect("the file is as long");
    Some(bytes)
}

/// Asks for all parts and checks the last byte of the last one.
pub fn check_parts(ask: impl FnMut(Vec<u8>) -> Vec<u8>) {
    let (mut length, mut last) = (0, None);
    for part in part_requests().map(ask) {
        length += part.len() as u64;
        last = part.last().copied();
    }
    assert_eq!((length, last), (LENGTH, Some(0)));
}
