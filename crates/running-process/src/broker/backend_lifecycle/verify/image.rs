//! The check of the image that a process runs.

use super::checks::{still_alive, unanswered};
use super::file::{self, FileId};
use super::policy::{ImageCheck, Policy};
use super::proof::{ImageState, StepVerdict};
use crate::broker::backend_lifecycle::digest::{Before, DigestCache, DigestError, Digested, Wanted};
use crate::broker::backend_lifecycle::identity::{DaemonProcess, ExeDigests};
use crate::broker::backend_lifecycle::judge::{Check, compare_image};
use crate::broker::backend_lifecycle::probe::{PolicyRule, ProbeError};
use crate::sys::{self, ProcessHandle, ProcessImage};
use std::fs::File;
use std::io;

/// The verdict on an image that was read: Linux opens the running image, other systems the file that bears its name
/// now.
#[cfg(any(target_os = "linux", target_os = "android"))]
const IMAGE_VERDICT: StepVerdict = StepVerdict::Proven;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const IMAGE_VERDICT: StepVerdict = StepVerdict::Claimed;

/// An inspected image, with the verdict and the evidence for people.
pub(super) struct Inspected {
    pub(super) image: RunningImage,
    pub(super) verdict: StepVerdict,
    pub(super) evidence: String,
}

/// The image that a process ran when it was inspected.
#[derive(Clone, Copy)]
pub(super) struct RunningImage {
    pub(super) state: ImageState,
    /// The file of the image, if it was inspected and the system leads to the running one.
    pub(super) file: Option<FileId>,
}

/// The image of a process, as far as it is known.
pub(super) enum Image<T> {
    Judged(T),
    Undigested(Undigested),
}

/// The result of inspecting an image.
pub(super) type Inspection = Result<Image<Inspected>, ProbeError>;

/// An image that must be digested first.
pub(super) struct Undigested {
    opened: ProcessImage,
    /// The moment before the process was seen to run it.
    before: Before,
    image: RunningImage,
    place: &'static str,
    wanted: Wanted,
}

impl Undigested {
    pub(super) fn file(&self) -> &File {
        &self.opened.file
    }

    /// Returns the digest to compare.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted
    }
}

/// Inspects the running image: on Linux it is found through the process, elsewhere by the path that the system names,
/// never by the recorded path. If its digests are remembered, they are compared.
pub(super) fn running_image(
    expected: &DaemonProcess,
    process: &ProcessHandle,
    policy: &Policy,
) -> Inspection {
    if let Some(inspected) = remembered_image(expected, process, policy) {
        return Ok(Image::Judged(inspected));
    }
    let before = Before::now();
    let opened = match process.open_image() {
        Ok(opened) => opened,
        Err(error) if policy.image == ImageCheck::IfReadable && error.kind() != io::ErrorKind::NotFound => {
            let image = RunningImage { state: ImageState::Unchecked, file: None };
            let evidence = format!("cannot be read: {error}");
            return Ok(Image::Judged(Inspected { image, verdict: StepVerdict::Unchecked, evidence }));
        }
        Err(error) => return Err(unanswered(expected.pid, error)),
    };
    let metadata = opened.file.metadata().map_err(ProbeError::Stream)?;
    let file = FileId::of(&metadata);
    let (state, place) = file::standing(&opened, file, process, &expected.exe_path);
    if state == ImageState::ReplacedOnDisk && !policy.replaced_on_disk {
        return Err(ProbeError::Policy(PolicyRule::ReplacedOnDisk));
    }
    let image = RunningImage { state, file };
    if policy.image != ImageCheck::SameAsCaller {
        let wanted = Wanted::to_compare(&expected.exe_digests);
        let undigested = Undigested { opened, before, image, place, wanted };
        return match DigestCache::of_process().find(&metadata, wanted) {
            Some(digests) => judge_digests(expected, undigested, &digests).map(Image::Judged),
            None => Ok(Image::Undigested(undigested)),
        };
    }
    let own = sys::own_image().and_then(|own| own.file.metadata()).map_err(ProbeError::Stream)?;
    match (FileId::of(&own), file) {
        (Some(own), Some(file)) if own == file => {
            let evidence = format!("the caller's own executable, {place}");
            Ok(Image::Judged(Inspected { image, verdict: IMAGE_VERDICT, evidence }))
        }
        (Some(_), Some(_)) => Err(ProbeError::Policy(PolicyRule::NotTheCallersImage)),
        _ => Err(ProbeError::Stream(io::Error::new(
            io::ErrorKind::Unsupported,
            "this system does not tell whether two files are one",
        ))),
    }
}

/// Returns the image if the system leads to it, its digests are remembered, and it is the recorded one at the recorded
/// path. Nothing has to be read then, so it is not opened. For any other image, opening it finds the reason.
fn remembered_image(expected: &DaemonProcess, process: &ProcessHandle, policy: &Policy) -> Option<Inspected> {
    if policy.image == ImageCheck::SameAsCaller {
        return None;
    }
    let metadata = process.image_metadata().ok()??;
    let digests = DigestCache::of_process().find(&metadata, Wanted::to_compare(&expected.exe_digests))?;
    let check = compare_image(&expected.exe_digests, &digests);
    let file = FileId::of(&metadata);
    let recorded = check.agrees && file::is_at(file, &expected.exe_path);
    let image = RunningImage { state: ImageState::Unchanged, file };
    let evidence = || evidence(&check, "stands at the recorded path");
    recorded.then(|| Inspected { image, verdict: IMAGE_VERDICT, evidence: evidence() })
}

/// Remembers the digests of the image of `process`, if that is safe, and compares them with the recorded ones.
pub(super) fn judge_read(
    expected: &DaemonProcess,
    process: &ProcessHandle,
    undigested: Undigested,
    read: Result<Digested, DigestError>,
) -> Result<Inspected, ProbeError> {
    let read = read.map_err(|error| match error {
        DigestError::TimedOut => ProbeError::TimedOut,
        error => ProbeError::NotInspectable { pid: expected.pid, source: error.into() },
    })?;
    DigestCache::of_process().keep(undigested.file(), &read, process, undigested.before);
    judge_digests(expected, undigested, &read.digests)
}

/// Compares the digests of an image with the recorded ones.
fn judge_digests(
    expected: &DaemonProcess,
    Undigested { opened, image, place, .. }: Undigested,
    digests: &ExeDigests,
) -> Result<Inspected, ProbeError> {
    let check = compare_image(&expected.exe_digests, digests);
    if !check.agrees {
        return Err(ProbeError::WrongImage { path: opened.path, check });
    }
    Ok(Inspected { image, verdict: IMAGE_VERDICT, evidence: evidence(&check, place) })
}

/// Checks that the process still runs `image`, which it ran before it answered. The caller checks afterwards that it is
/// alive.
pub(in crate::broker) fn still_runs(
    process: &ProcessHandle,
    image: Option<FileId>,
) -> Result<(), ProbeError> {
    let Some(image) = image else { return Ok(()) };
    let pid = process.pid();
    // If the single call fails, the one with its checks returns the reason.
    let found = process.unguarded_image_metadata().or_else(|_| process.image_metadata());
    match found.map_err(|error| unanswered(pid, error))? {
        Some(found) if FileId::of(&found) != Some(image) => {
            still_alive(process)?;
            Err(ProbeError::OtherImage { pid })
        }
        _ => Ok(()),
    }
}

fn evidence(check: &Check, place: &str) -> String {
    format!("{}, {place}", check.found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_evidence_has_the_digest_that_was_found_and_the_place() {
        let digests = ExeDigests::Sha256([0xA7; 32]);
        let told = evidence(&compare_image(&digests, &digests), "stands there");
        assert!(told.contains(&"a7".repeat(32)) && told.ends_with(", stands there"), "{told}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_remembered_image_has_the_recorded_digest_and_path_and_is_not_compared_with_the_callers() {
        use crate::broker::protocol::Endpoint;
        let endpoint = Endpoint::unix_socket("image", "/none").unwrap();
        let daemon = DaemonProcess::current_process(endpoint, None).unwrap();
        let process = ProcessHandle::open(daemon.pid).unwrap().unwrap();
        let is_found = |daemon: &DaemonProcess, image: ImageCheck| {
            remembered_image(daemon, &process, &Policy { image, ..Policy::default() }).is_some()
        };
        assert!(!is_found(&daemon, ImageCheck::SameAsCaller));
        let (mut other, mut elsewhere) = (daemon.clone(), daemon.clone());
        other.exe_digests = ExeDigests::Sha256([7; 32]);
        assert!(!is_found(&other, ImageCheck::Required));
        elsewhere.exe_path = "/none".into();
        assert!(!is_found(&elsewhere, ImageCheck::Required));
        if !is_found(&daemon, ImageCheck::Required) {
            println!("skipped: this system remembers no digests");
        }
    }
}
