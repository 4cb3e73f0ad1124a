//! The digests of a file: SHA-256 by one thread, BLAKE3 by as many as the file is worth.
//!
//! A BLAKE3 is the root of a binary tree, so pieces of the file are hashed in any order and merged in the end. No dependency
//! is as small as this: the hash's own threads come with rayon and its pool.

use super::input::{DigestError, Input};
use crate::broker::backend_lifecycle::identity::{ExeDigest, ExeDigests};
use blake3::hazmat::{self, ChainingValue, HasherExt, Mode};
use sha2::Digest;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Length of the pieces that are hashed on their own, in bytes: a power of two, as the tree of BLAKE3 requires, and about
/// three times the time that it takes to start a thread.
const PIECE: usize = 512 * 1024;
const PIECE_BYTES: u64 = PIECE as u64;

/// Largest number of threads that hash one file, with the caller's.
const MAX_THREADS: usize = 8;

/// Number of bytes that are digested between two checks whether to go on: a few milliseconds without optimization, far
/// below one with it.
pub(super) const CHUNK_BYTES: usize = 65_536;

/// The digests that a caller wants of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// BLAKE3, which is the cheaper one.
    Blake3,
    /// SHA-256, if there is nothing else to compare with.
    Sha256,
    /// Both, for an identity of one's own.
    Both,
}

impl Wanted {
    /// Returns the digest that is compared with those in an identity.
    pub(crate) fn to_compare(expected: &ExeDigests) -> Self {
        if expected.blake3().is_none() && expected.sha256().is_some() { Self::Sha256 } else { Self::Blake3 }
    }

    /// Returns whether `digests` has them.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn is_in(self, digests: &ExeDigests) -> bool {
        (self == Self::Sha256 || digests.blake3().is_some())
            && (self == Self::Blake3 || digests.sha256().is_some())
    }
}

/// Returns the `wanted` digests of the `size` bytes of `input`. A file of more than one piece is read once for each digest.
pub(super) fn digests(input: &Input<'_>, size: u64, wanted: Wanted) -> Result<ExeDigests, DigestError> {
    let threads =
        if size <= PIECE_BYTES { 1 } else { thread::available_parallelism().map_or(1, NonZero::get) };
    let digests = if threads == 1 {
        in_one_pass(input, size, wanted)
    } else {
        on_threads(input, size, wanted, threads.min(MAX_THREADS))
    };
    digests.and_then(|digests| input.ends_at(size).map(|()| digests))
}

fn in_one_pass(input: &Input<'_>, size: u64, wanted: Wanted) -> Result<ExeDigests, DigestError> {
    let mut sha256 = (wanted != Wanted::Blake3).then(sha2::Sha256::new);
    let mut blake3 = (wanted != Wanted::Sha256).then(blake3::Hasher::new);
    input.read(0..size, &mut chunk(), |bytes| {
        if let Some(sha256) = &mut sha256 {
            sha256.update(bytes);
        }
        if let Some(blake3) = &mut blake3 {
            blake3.update(bytes);
        }
    })?;
    Ok(found(sha256.map(|hash| hash.finalize().into()), blake3.map(|hash| hash.finalize().into())))
}

/// Hashes a file of more than one piece on so many `threads`, of which one begins with the SHA-256 if that is wanted. A thread that cannot be started is no
/// error: the others do its work.
fn on_threads(
    input: &Input<'_>,
    size: u64,
    wanted: Wanted,
    threads: usize,
) -> Result<ExeDigests, DigestError> {
    let tree = (wanted != Wanted::Sha256).then(|| Tree::of(size));
    thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads)
            .filter_map(|_| {
                let tree = tree.as_ref()?;
                thread::Builder::new().spawn_scoped(scope, || tree.hash(input)).ok()
            })
            .collect();
        let sha256 = if wanted == Wanted::Blake3 { Ok(None) } else { sha256(input, size).map(Some) };
        let mut hashed = tree.as_ref().map_or(Ok(()), |tree| tree.hash(input));
        for helper in helpers {
            hashed = hashed.and(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        let sha256 = sha256?;
        hashed.map(|()| found(sha256, tree.as_ref().map(Tree::root)))
    })
}

fn sha256(input: &Input<'_>, size: u64) -> Result<ExeDigest, DigestError> {
    let mut hash = sha2::Sha256::new();
    input.read(0..size, &mut chunk(), |bytes| hash.update(bytes))?;
    Ok(hash.finalize().into())
}

/// Returns memory to read into, one for each thread.
fn chunk() -> Vec<u8> {
    vec![0; CHUNK_BYTES]
}

fn found(sha256: Option<ExeDigest>, blake3: Option<ExeDigest>) -> ExeDigests {
    ExeDigests::from_known(sha256, blake3)
        .expect("a digest is wanted, and no file is known that has one of zeros")
}

/// The pieces of a file that has more than one, with the values of those that are hashed.
struct Tree {
    size: u64,
    pieces: Mutex<Pieces>,
}

struct Pieces {
    /// Number of the next piece that no thread has taken.
    next: usize,
    values: Vec<ChainingValue>,
}

impl Tree {
    fn of(size: u64) -> Self {
        let count = usize::try_from(size.div_ceil(PIECE_BYTES))
            .expect("each piece is larger than a byte of the address space");
        Self { size, pieces: Mutex::new(Pieces { next: 0, values: vec![[0; 32]; count] }) }
    }

    /// Hashes pieces until all are taken.
    ///
    /// # Errors
    ///
    /// See [`DigestError`]. The pieces that were not taken yet are not hashed then, by any thread.
    fn hash(&self, input: &Input<'_>) -> Result<(), DigestError> {
        let mut chunk = chunk();
        while let Some(index) = self.take() {
            let start = index as u64 * PIECE_BYTES;
            let mut hash = blake3::Hasher::new();
            hash.set_input_offset(start);
            let range = start..self.size.min(start + PIECE_BYTES);
            let read = input.read(range, &mut chunk, |bytes| {
                hash.update(bytes);
            });
            let mut pieces = self.pieces();
            if read.is_err() {
                pieces.next = pieces.values.len();
                return read;
            }
            pieces.values[index] = hash.finalize_non_root();
        }
        Ok(())
    }

    fn take(&self) -> Option<usize> {
        let mut pieces = self.pieces();
        let index = pieces.next;
        (index < pieces.values.len()).then(|| {
            pieces.next += 1;
            index
        })
    }

    fn root(&self) -> ExeDigest {
        let pieces = self.pieces();
        let (left, right) = halves(&pieces.values);
        hazmat::merge_subtrees_root(&merged(left), &merged(right), Mode::Hash).into()
    }

    fn pieces(&self) -> std::sync::MutexGuard<'_, Pieces> {
        // No code that can panic changes them halfway.
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the value of the subtree above `values`.
fn merged(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values);
    hazmat::merge_subtrees_non_root(&merged(left), &merged(right), Mode::Hash)
}

/// Splits at least two values as BLAKE3 does: the left half is full, and no smaller than the right one.
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::backend_lifecycle::digest::read::tests::{TestFile, digests_of_bytes};
    use crate::broker::backend_lifecycle::digest::read::{Digested, digests_while};
    use std::fs::File;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn content(length: usize) -> Vec<u8> {
        (0..length).map(|index| u8::try_from(index * 31 % 251).unwrap()).collect()
    }

    fn hashed(file: &File, wanted: Wanted) -> Result<Digested, DigestError> {
        digests_while(file, wanted, &|| true)
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_caller_gets_what_it_wants_or_has_the_file_read() {
        let (sha256, blake3) = (ExeDigests::Sha256([1; 32]), ExeDigests::Blake3([2; 32]));
        let both = ExeDigests::Both { sha256: [1; 32], blake3: [2; 32] };
        let in_which = |wanted: Wanted| [sha256, blake3, both].map(|digests| wanted.is_in(&digests));
        assert_eq!(in_which(Wanted::Sha256), [true, false, true]);
        assert_eq!(in_which(Wanted::Blake3), [false, true, true]);
        assert_eq!(in_which(Wanted::Both), [false, false, true]);
    }

    #[test]
    #[cfg(unix)]
    fn a_read_that_fails_is_not_tried_again() {
        use crate::broker::backend_lifecycle::digest::read::tests::watched;
        let directory = tempfile::tempdir().unwrap();
        let opened = File::open(directory.path()).unwrap();
        let failed = watched(move || Input::new(&opened, &|| true).read(0..1, &mut [0; 8], |_| {}));
        assert!(
            matches!(failed, Err(DigestError::Io(error)) if error.kind() == std::io::ErrorKind::IsADirectory)
        );
    }

    #[test]
    fn a_file_of_any_number_of_pieces_has_the_digests_of_its_bytes() {
        let content = content(7 * PIECE + 1);
        for length in [1, 2, 3, 4, 5, 6, 7]
            .map(|pieces| pieces * PIECE)
            .into_iter()
            .flat_map(|end| [end - 1, end, end + 1])
        {
            let file = TestFile::with(&content[..length]).open();
            let expected = digests_of_bytes(&content[..length]);
            assert_eq!(hashed(&file, Wanted::Both).unwrap().digests, expected, "{length}");
            for threads in [2, 3, MAX_THREADS].into_iter().filter(|_| length > PIECE) {
                let input = Input::new(&file, &|| true);
                let found = on_threads(&input, length as u64, Wanted::Both, threads).unwrap();
                assert_eq!(found, expected, "{length}, {threads} threads");
            }
        }
    }

    #[test]
    fn only_the_digest_that_is_wanted_is_made_and_the_file_is_read_once_for_it() {
        for length in [3, 3 * PIECE] {
            let content = content(length);
            let file = TestFile::with(&content).open();
            let both = digests_of_bytes(&content);
            for (wanted, digests) in [
                (Wanted::Blake3, ExeDigests::Blake3(*both.blake3().unwrap())),
                (Wanted::Sha256, ExeDigests::Sha256(*both.sha256().unwrap())),
            ] {
                let hashed = hashed(&file, wanted).unwrap();
                assert_eq!((hashed.digests, hashed.bytes_read), (digests, length as u64), "{wanted:?}");
            }
        }
    }

    #[test]
    fn every_thread_ends_once_no_caller_waits() {
        let file = TestFile::with(&content(64 * PIECE)).open();
        let reads = AtomicUsize::new(0);
        let go_on = || reads.fetch_add(1, Ordering::Relaxed) < 20;
        let input = Input::new(&file, &go_on);
        let hashed = on_threads(&input, 64 * PIECE_BYTES, Wanted::Both, 4);
        assert!(matches!(hashed, Err(DigestError::TimedOut)), "{hashed:?}");
        // Each of four threads asks once more.
        assert!(reads.into_inner() <= 20 + 4 + 1);
    }

    #[test]
    fn a_large_file_that_is_cut_or_extended_is_refused_by_every_thread() {
        let size = 9 * PIECE_BYTES;
        for length in [0, 1, size - 1, size + 1] {
            let place = TestFile::with(b"");
            let file = File::options().read(true).write(true).open(&place.path).unwrap();
            file.set_len(length).unwrap();
            let hashed = digests(&Input::new(&file, &|| true), size, Wanted::Both);
            assert!(matches!(hashed, Err(DigestError::Changed)), "{length}: {hashed:?}");
        }
    }

    #[test]
    fn the_digest_to_compare_is_blake3_where_it_is_known() {
        let (sha256, blake3) = ([1; 32], [2; 32]);
        assert_eq!(Wanted::to_compare(&ExeDigests::Both { sha256, blake3 }), Wanted::Blake3);
        assert_eq!(Wanted::to_compare(&ExeDigests::Blake3(blake3)), Wanted::Blake3);
        assert_eq!(Wanted::to_compare(&ExeDigests::Sha256(sha256)), Wanted::Sha256);
        assert_eq!(Wanted::to_compare(&ExeDigests::Both { sha256, blake3: [0; 32] }), Wanted::Sha256);
    }
}
