//! The `meltemi` binary.
fn main() {}
