//! The system's allocator, with counters that are on only during a count.
//!
//! While they are off, which is whenever time is taken, they cost one load and a branch.

#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};

static COUNTING: AtomicBool = AtomicBool::new(false);
/// Bytes that all threads hold, since counting began.
static HELD: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations that this thread makes during `work`.
pub fn calls(work: impl FnOnce()) -> u64 {
    let before = CALLS.get();
    COUNTING.store(true, Ordering::Relaxed);
    work();
    COUNTING.store(false, Ordering::Relaxed);
    CALLS.get() - before
}

/// Returns the bytes that this process holds beyond those of the first call.
pub fn held() -> isize {
    if COUNTING.swap(true, Ordering::Relaxed) { HELD.load(Ordering::Relaxed) } else { 0 }
}

fn note(calls: u64, grown: usize, shrunk: usize) {
    if COUNTING.load(Ordering::Relaxed) {
        // A thread that ends frees its locals after `CALLS` is gone.
        let _ended = CALLS.try_with(|count| count.set(count.get() + calls));
        HELD.fetch_add(grown.cast_signed() - shrunk.cast_signed(), Ordering::Relaxed);
    }
}

// SAFETY: every call goes to `System` unchanged, and noting it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size(), 0);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size(), 0);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(0, 0, layout.size());
        // SAFETY: the caller's promise, passed on; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size, layout.size());
        // SAFETY: the caller's promise, passed on; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
