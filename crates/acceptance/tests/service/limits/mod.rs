//! Processes and file systems with small limits: what fits is served, the rest is refused, and all of it heals.

mod control_group;
mod disks;
mod mounts;
mod processes;
