//! A multi-layered backup system.

fn main() {}
