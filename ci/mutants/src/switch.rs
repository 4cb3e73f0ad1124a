/// Returns whether the mutant of this number is switched on, and notes that it was asked.
#[allow(unsafe_code, missing_docs, clippy::all, clippy::pedantic)]
#[doc(hidden)]
#[inline(never)]
pub fn mutant(number: u32) -> bool {
    use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};
    const BYTES: usize = 1 << 16;
    unsafe extern "C" {
        fn open(path: *const std::ffi::c_char, flags: i32) -> i32;
        fn close(descriptor: i32) -> i32;
        fn mmap(at: *mut u8, length: usize, protection: i32, flags: i32, descriptor: i32, offset: i64) -> *mut u8;
    }
    static STATE: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
    let mut state = STATE.load(Ordering::Acquire);
    if state.is_null() {
        // SAFETY: the calls take a text that ends with a zero and a descriptor that is open.
        state = unsafe {
            let descriptor = open(c"/tmp/mutant-switch".as_ptr(), 0o2_000_002);
            if descriptor < 0 {
                return false;
            }
            let state = mmap(std::ptr::null_mut(), BYTES, 3, 1, descriptor, 0);
            close(descriptor);
            state
        };
        if state as isize == -1 {
            return false;
        }
        STATE.store(state, Ordering::Release);
    }
    let number = number as usize;
    // SAFETY: the mapping is shared, is never unmapped, and is longer than there are mutants.
    unsafe {
        let asked = AtomicU8::from_ptr(state.add(8 + number));
        if asked.load(Ordering::Relaxed) == 0 {
            asked.store(1, Ordering::Relaxed);
        }
        AtomicU32::from_ptr(state.cast()).load(Ordering::Relaxed) as usize == number
    }
}
