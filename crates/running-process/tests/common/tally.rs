//! An allocator for test binaries that counts the requests of each thread.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocations of a thread.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    /// Number of bytes allocated in all.
    pub(crate) bytes: usize,
    /// Number of bytes held now; negative if another thread allocated what this one freed.
    pub(crate) held: isize,
    /// Largest number of bytes held at once.
    pub(crate) peak: isize,
}

thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { calls: 0, bytes: 0, held: 0, peak: 0 }) };
}

struct Counting;

fn count(allocated: usize, freed: usize) {
    let signed = |bytes| isize::try_from(bytes).expect("no allocation is larger");
    TALLY.with(|tally| {
        let mut now = tally.get();
        now.calls += usize::from(allocated > 0);
        now.bytes += allocated;
        now.held += signed(allocated) - signed(freed);
        now.peak = now.peak.max(now.held);
        tally.set(now);
    });
}

// SAFETY: every call goes to `System` unchanged, and counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise, passed on; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's promise, passed on; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of bytes that this thread holds.
pub(crate) fn held() -> isize {
    TALLY.get().held
}

/// Returns the allocations of `work`; `held` and `peak` are relative to the start.
pub(crate) fn tally<T>(work: impl FnOnce() -> T) -> (T, Tally) {
    let before = TALLY.get();
    TALLY.set(Tally { peak: before.held, ..before });
    let result = work();
    let after = TALLY.get();
    let spent = Tally {
        calls: after.calls - before.calls,
        bytes: after.bytes - before.bytes,
        held: after.held - before.held,
        peak: after.peak - before.held,
    };
    (result, spent)
}
