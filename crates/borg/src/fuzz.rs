//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser; what can be reached from outside is listed by who tries it.

use crate::files_cache::FilesCache;
use crate::ini::Ini;
use crate::integrity::Expected;
use crate::key::blob::{Blob, read_secrets};
use crate::rpc::frames::Frames;
use crate::rpc::request::Request;
use crate::tar::import;

/// A name, and what reads.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: &[Parser] = &[
    ("borg-files-cache", |bytes| drop(FilesCache::read(bytes))),
    ("borg-integrity", |bytes| {
        let _ = Expected::from_json(bytes);
    }),
    ("borg-ini", |bytes| drop(text(bytes).parse::<Ini>())),
    ("borg-key-blob", |bytes| drop(Blob::read(bytes))),
    ("borg-key-secrets", |bytes| drop(read_secrets(bytes, false))),
    ("borg-rpc-frames", frames),
    ("borg-rpc-request", |bytes| drop(Request::parse(bytes))),
    ("borg-tar", |bytes| drop(import::read_through(bytes))),
];

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn frames(bytes: &[u8]) {
    let mut frames = Frames::new(bytes);
    while let Ok(Some(frame)) = frames.next() {
        drop(Request::parse(frame));
    }
}
