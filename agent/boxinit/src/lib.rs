//! boxinit: PID 1 of a sandbox. It dials the node's agent, runs programs and transfers files on request, and reaps dead
//! processes. One thread, one event loop, no dependency but the C library.

pub mod backlog;
pub mod claim;
pub mod core;
pub mod error;
pub mod exec;
pub mod files;
pub mod frame;
pub mod json;
pub mod kill;
pub mod mux;
pub mod nursery;
pub mod port;
pub mod ring;
pub mod server;
pub mod slab;
pub mod sys;
pub mod timers;
pub mod users;

/// Exits, with a message on stderr.
pub fn fail(what: &str, errno: i32) -> ! {
    eprintln!("boxinit: {}: {}", what, sys::message(errno));
    std::process::exit(1)
}
