//! A program that changes an executable through a shared mapping: `mapped-writer FILE`.
//!
//! It maps the file shared and writable, closes it, and stores the last byte unchanged, so that the page is dirty. It
//! prints `ready`, changes that byte for every line of its standard input, prints `changed`, and ends with its input.

#![allow(unsafe_code, reason = "a mapping is memory that others change")]
#![allow(clippy::unwrap_used, reason = "part of a test: a failure is to be seen")]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    use std::sync::atomic::{AtomicU8, Ordering};

    let path = std::env::args_os().nth(1).expect("usage: mapped-writer FILE");
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    assert!(length > 0);
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory of this process.
    let mapping = unsafe {
        mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
    };
    drop(file);
    // SAFETY: the last byte lies in the mapping, which stays until the process ends. Nothing shrinks the file, and other
    // processes may change an atomic.
    let last = unsafe { AtomicU8::from_ptr(mapping.unwrap().cast::<u8>().add(length - 1)) };
    last.store(last.load(Ordering::SeqCst), Ordering::SeqCst);
    println!("ready");
    for line in std::io::stdin().lines() {
        line.unwrap();
        last.fetch_xor(1, Ordering::SeqCst);
        println!("changed");
    }
}
