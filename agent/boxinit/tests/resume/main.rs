//! Cut links: commands go on, and whoever comes back finds all of their output, their input and their end.

mod input;
mod kept;
mod output;
mod same_id;
#[path = "../support/mod.rs"]
mod support;
