//! Tests of the command on terminals, in pipes and in shells.

mod closed_pipe;
mod common;
mod completions;
#[cfg(target_os = "linux")]
mod conform;
mod daemon;
mod decode;
mod demo;
#[cfg(target_os = "linux")]
mod doctor;
mod front;
mod full;
mod hints;
mod hostile;
mod install;
mod json;
mod load;
mod logs;
mod many;
mod memory;
mod names;
mod other_sockets;
mod page;
mod pipe;
mod ps;
mod restart;
mod screens;
mod service;
mod service_file;
mod stampede;
mod streams;
mod terminal;
mod top;
mod upgrade;
mod wrong_input;
