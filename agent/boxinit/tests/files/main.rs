//! File calls.

mod bytes;
mod calls;
mod names;
mod odd_tar;
#[path = "../support/mod.rs"]
mod support;
mod tar;
mod trees;
mod watch;
