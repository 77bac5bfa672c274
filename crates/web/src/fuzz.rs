//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser.

use crate::ask::Pairs;

/// A name, and what reads.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: &[Parser] = &[("web-form", |bytes| drop(Pairs::parse(bytes)))];
