//! Tests of the command on terminals, in pipes and in shells.

mod closed_pipe;
mod common;
mod completions;
mod daemon;
mod decode;
mod demo;
mod full;
mod hints;
mod hostile;
mod json;
mod load;
mod memory;
mod pipe;
mod streams;
mod terminal;
mod top;
