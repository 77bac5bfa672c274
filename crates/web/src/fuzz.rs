//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser.

use crate::ask::Pairs;

/// A name for each parser, and the parser.
pub const PARSERS: &[(&str, fn(&[u8]))] = &[("web-form", |bytes| drop(Pairs::parse(bytes)))];
