//! The fuzzer of LLVM on one parser, which the variable `PARSER` names. `fuzz.sh` builds and starts it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use ravelin_fuzz::{Parser, parsers};

fn chosen() -> Parser {
    static CHOSEN: OnceLock<Parser> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let name = std::env::var("PARSER").unwrap_or_default();
        let found = parsers().find(|parser| parser.name == name);
        found.unwrap_or_else(|| panic!("PARSER names none of the parsers: {name}"))
    })
}

fuzz_target!(|bytes: &[u8]| (chosen().read)(bytes));
