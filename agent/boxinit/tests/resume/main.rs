//! Cut links: commands continue, and a later attach finds all of their output, input and exit.

mod input;
mod kept;
mod output;
mod same_id;
#[path = "../support/mod.rs"]
mod support;
