//! A start and a stop, interrupted at each of their system calls.

mod bed;
mod daemons;
mod deaths;
mod faults;
mod launcher;
mod replacements;
mod trace;
