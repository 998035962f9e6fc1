//! Exits 0. The program that benchmarks run.

fn main() {}
