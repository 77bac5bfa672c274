//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser.

use crate::hidden::index::Index;
use crate::hidden::line::Line;
use crate::sync::Ignore;
use crate::{Rule, VersionId};

/// A name, and what reads.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: &[Parser] = &[
    ("drop-line", |bytes| drop(Line::parse(&text(bytes)))),
    ("drop-checkpoint", |bytes| {
        if let Ok(name) = store::Name::new("checkpoint") {
            drop(Index::from_checkpoint(&name, bytes));
        }
    }),
    ("drop-ignore", |bytes| drop(Ignore::parse(&text(bytes)))),
    ("drop-rule", |bytes| drop(text(bytes).parse::<Rule>())),
    ("drop-version", |bytes| {
        drop(text(bytes).parse::<VersionId>());
    }),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
