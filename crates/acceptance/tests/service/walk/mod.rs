//! A start, a stop and an exchange, interrupted at each of their system calls.

mod bed;
mod clients;
mod daemons;
mod deaths;
mod errors;
mod faults;
mod launcher;
mod replacements;
mod servers;
mod trace;
mod tracer;
