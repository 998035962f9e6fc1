//! Calls on files.

mod bytes;
mod calls;
mod names;
#[path = "../support/mod.rs"]
mod support;
mod tar;
mod trees;
mod watch;
