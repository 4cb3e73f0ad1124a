//! Daemons that are replaced while they serve.

mod askers;
mod crowd;
mod ends;
mod exclusive;
mod fixture;
mod handover;
mod load;
mod restart;
mod times;
mod war;
