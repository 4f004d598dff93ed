//! The `xcomp` program.
fn main() {}
