//! The way of values between C and Rust: panics, pointers and lengths.

use crate::status::Status;
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{mem, ptr, slice};

/// Bytes that belong to someone else: in input the caller's, in a decoded frame those of the buffer that was decoded.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Bytes {
    /// The first byte. May be null if `length` is 0.
    pub data: *const u8,
    /// The number of bytes.
    pub length: usize,
}

impl Bytes {
    /// No bytes.
    pub const EMPTY: Self = Self { data: ptr::null(), length: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// Borrows the bytes.
    ///
    /// # Safety
    ///
    /// As [`bytes`].
    pub(crate) unsafe fn borrow<'a>(self) -> Result<&'a [u8], Status> {
        // SAFETY: the caller's promise.
        unsafe { bytes(self.data, self.length) }
    }

    /// Borrows the bytes as text.
    ///
    /// # Safety
    ///
    /// As [`bytes`].
    pub(crate) unsafe fn text<'a>(self) -> Result<&'a str, Status> {
        // SAFETY: the caller's promise.
        let bytes = unsafe { self.borrow() }?;
        str::from_utf8(bytes).map_err(|_| Status::NotUtf8)
    }
}

/// Runs the body of a function, and turns a panic into a status.
pub(crate) fn guard(body: impl FnOnce() -> Result<(), Status>) -> Status {
    // The body may leave output half-written, and a failed function promises no output.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::Ok,
        Ok(Err(status)) => status,
        Err(payload) => {
            // Its destructor may panic as well.
            mem::forget(payload);
            Status::Panic
        }
    }
}

/// Borrows `length` elements; null is allowed if there are none.
///
/// # Safety
///
/// Unless `length` is 0, `data` points to so many initialized elements, which nothing changes during `'a`.
pub(crate) unsafe fn elements<'a, T>(data: *const T, length: usize) -> Result<&'a [T], Status> {
    if length == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Status::NullPointer);
    }
    // A slice has at most `isize::MAX` bytes.
    let fits = length.checked_mul(size_of::<T>()).is_some_and(|size| isize::try_from(size).is_ok());
    if !fits || !data.is_aligned() {
        return Err(Status::InvalidArgument);
    }
    // SAFETY: not null, aligned, of a legal size, and valid by the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data, length) })
}

/// Borrows `length` bytes; null is allowed if there are none.
///
/// # Safety
///
/// As [`elements`].
pub(crate) unsafe fn bytes<'a>(data: *const u8, length: usize) -> Result<&'a [u8], Status> {
    // SAFETY: the caller's promise.
    unsafe { elements(data, length) }
}

/// Borrows a value.
///
/// # Safety
///
/// `value` is null or points to an initialized value, which nothing changes during `'a`.
pub(crate) unsafe fn value<'a, T>(value: *const T) -> Result<&'a T, Status> {
    if !value.is_null() && !value.is_aligned() {
        return Err(Status::InvalidArgument);
    }
    // SAFETY: aligned, and null or valid by the caller's promise.
    unsafe { value.as_ref() }.ok_or(Status::NullPointer)
}

/// Checks that a place for output can be written to.
pub(crate) fn check_place<T>(place: *mut T) -> Result<(), Status> {
    if place.is_null() {
        return Err(Status::NullPointer);
    }
    if place.is_aligned() { Ok(()) } else { Err(Status::InvalidArgument) }
}

/// Stores `value` in a place of the caller, whose old content is not read.
///
/// # Safety
///
/// `place` is null or may be written to.
pub(crate) unsafe fn store<T>(place: *mut T, value: T) -> Result<(), Status> {
    check_place(place)?;
    // SAFETY: not null, aligned, and writable by the caller's promise.
    unsafe { place.write(value) };
    Ok(())
}

/// Copies `pieces` one after the other to `out`, and stores their length.
///
/// # Safety
///
/// `out` is null, or `capacity` bytes there may be written that overlap with no piece; `length` as in [`store`].
pub(crate) unsafe fn put(
    pieces: &[&[u8]],
    out: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Result<(), Status> {
    let needed = pieces.iter().map(|piece| piece.len()).sum();
    // SAFETY: the caller's promise.
    unsafe { store(length, needed) }?;
    if needed > capacity {
        return Err(Status::BufferTooSmall);
    }
    if out.is_null() {
        return Err(Status::NullPointer);
    }
    let mut at = out;
    for piece in pieces {
        // SAFETY: all pieces together fit `capacity`, so `at` stays within it; they do not overlap by the caller's promise.
        unsafe {
            ptr::copy_nonoverlapping(piece.as_ptr(), at, piece.len());
            at = at.add(piece.len());
        }
    }
    Ok(())
}

/// The caller's memory for the text of a failure.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    /// Null if the caller wants no text.
    pub(crate) text: *mut c_char,
    pub(crate) capacity: usize,
}

impl Message {
    /// Writes `error` with its causes, cut at the end of a character, with a NUL behind it. Returns `status`.
    ///
    /// # Safety
    ///
    /// `text` is null, or `capacity` bytes there may be written.
    pub(crate) unsafe fn fail(self, status: Status, error: &dyn std::error::Error) -> Status {
        if self.text.is_null() || self.capacity == 0 {
            return status;
        }
        let mut said = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            said.push_str(": ");
            said.push_str(&error.to_string());
            cause = error.source();
        }
        // A NUL within would end the text.
        let said = said.replace('\0', "\u{fffd}");
        let length = said.floor_char_boundary(self.capacity - 1);
        // SAFETY: `length + 1 <= capacity` bytes may be written by the caller's promise, and `said` is memory of its own.
        unsafe {
            ptr::copy_nonoverlapping(said.as_ptr(), self.text.cast::<u8>(), length);
            self.text.add(length).write(0);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_panic_becomes_a_status() {
        struct PanicsAgain;
        impl Drop for PanicsAgain {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        assert_eq!(guard(|| std::panic::panic_any(PanicsAgain)), Status::Panic);
        assert_eq!(guard(|| Err(Status::NotUtf8)), Status::NotUtf8);
        assert_eq!(guard(|| Ok(())), Status::Ok);
    }

    #[test]
    fn no_slice_is_made_of_a_bad_pointer_or_length() {
        let four = [1_u32, 2, 3, 4];
        let odd = four.as_ptr().wrapping_byte_add(1);
        // SAFETY: what is not refused is `four`.
        unsafe {
            assert_eq!(elements(ptr::null::<u32>(), 0), Ok(&[][..]));
            assert_eq!(elements(ptr::null::<u32>(), 1), Err(Status::NullPointer));
            assert_eq!(elements(odd, 1), Err(Status::InvalidArgument));
            assert_eq!(elements(four.as_ptr(), usize::MAX / 2), Err(Status::InvalidArgument));
            assert_eq!(elements(four.as_ptr(), 4), Ok(&four[..]));
            assert_eq!(value(odd), Err(Status::InvalidArgument));
        }
    }

    #[test]
    fn output_that_does_not_fit_is_measured_and_not_written() {
        let (mut out, mut length) = ([7_u8; 4], 0);
        // SAFETY: `out` has four bytes.
        unsafe {
            assert_eq!(
                put(&[b"ab", b"cde"], out.as_mut_ptr(), 4, &raw mut length),
                Err(Status::BufferTooSmall)
            );
            assert_eq!((out, length), ([7; 4], 5));
            assert_eq!(put(&[b"ab", b"c"], out.as_mut_ptr(), 4, &raw mut length), Ok(()));
            assert_eq!((out, length), (*b"abc\x07", 3));
            assert_eq!(put(&[b"ab"], ptr::null_mut(), 4, &raw mut length), Err(Status::NullPointer));
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_ends_with_nul() {
        let error = io::Error::other("aé\0b");
        let mut text = [0x55_u8; 6];
        // SAFETY: `text` has more than three bytes.
        let status =
            unsafe { Message { text: text.as_mut_ptr().cast(), capacity: 3 }.fail(Status::System, &error) };
        assert_eq!((status, &text), (Status::System, b"a\0UUUU"));
    }
}
