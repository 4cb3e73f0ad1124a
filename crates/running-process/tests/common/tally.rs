//! The allocator of a test binary that counts what each thread asks of it.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What a thread has asked of the allocator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) calls: usize,
    /// Bytes asked for, in all.
    pub(crate) bytes: usize,
    /// Bytes held at the moment; negative where another thread allocated what this one freed.
    pub(crate) held: isize,
    /// The most that was held at once.
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

/// How many bytes this thread holds.
pub(crate) fn held() -> isize {
    TALLY.get().held
}

/// What `work` asked of the allocator; `held` and `peak` are relative to the start.
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
