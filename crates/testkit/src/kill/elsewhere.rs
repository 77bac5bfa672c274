//! Registers and numbers of system calls are known for x86-64 only.

use std::path::Path;
use std::process::Command;

use super::{Call, Fault, Outcome};

pub(super) fn can_trace() -> Result<(), String> {
    Err("only on x86-64".into())
}

pub(super) fn run(
    command: &mut Command,
    _directories: &[&Path],
    _fault: Option<(u64, Fault)>,
) -> (Outcome, Vec<Call>) {
    panic!("cannot trace {command:?}: only on x86-64")
}
