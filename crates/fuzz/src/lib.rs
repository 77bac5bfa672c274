//! Every parser of bytes from outside, for the fuzzer and for a short look at each change.
//!
//! A parser is one line in [`parsers`], or in the module `fuzz` of its crate where it cannot be reached
//! from here. It may refuse, it may not panic, hang, or allocate what a number in the bytes demands. Its
//! examples stand in `corpus/NAME/`; what once did harm is added to them.
//!
//! - `cargo test -p ravelin-fuzz`: all examples, and some thousand changes of them that are the same
//!   every time. A part of every `cargo test`.
//! - `bash crates/fuzz/fuzz.sh NAME 600`: ten minutes with the fuzzer of LLVM, which looks for bytes
//!   that lead to code not seen before, and keeps them.

pub mod answers;
mod repository;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use borg::{
    Archive, Buffer, Compression, Decompressor, Id, Item, ItemReader, Key, Manifest, Opener,
    Sealed, unpacked,
};
use engine::{Config, Places, Schedule};
use tree::{Acl, Pattern, TreePath};

/// A parser and its name.
#[derive(Clone, Copy)]
pub struct Parser {
    /// Names its corpus.
    pub name: &'static str,
    /// Reads bytes, and does no harm.
    pub read: fn(&[u8]),
}

/// Those that are reached by the interfaces of their crates.
const OPEN: &[borg::fuzz::Parser] = &[
    ("borg-archive", |bytes| drop(Archive::read(bytes))),
    ("borg-chunker-params", |bytes| {
        let _ = text(bytes).parse::<borg::ChunkerParams>();
    }),
    ("borg-compression", |bytes| {
        drop(text(bytes).parse::<Compression>());
    }),
    ("borg-hints", |bytes| {
        repository::read("hints.17", bytes, &[]);
    }),
    ("borg-index", |bytes| {
        repository::read("index.17", bytes, &[]);
    }),
    ("borg-item", |bytes| drop(Item::read(bytes))),
    ("borg-item-stream", items),
    ("borg-location", |bytes| {
        drop(text(bytes).parse::<borg::Location>());
    }),
    ("borg-manifest", |bytes| {
        drop(Manifest::open(&Key::plaintext(Id::MANIFEST), bytes, false));
    }),
    ("borg-object", object),
    ("borg-paper-key", |bytes| {
        drop(borg::read_paper_key(&Id::MANIFEST, &text(bytes)));
    }),
    ("borg-payload", payload),
    ("borg-segment", |bytes| {
        // Without an index the whole log is read.
        repository::read("data/0/16", bytes, &["index.17", "hints.17"]);
    }),
    ("borg-timestamp", |bytes| {
        drop(borg::Timestamp::parse(&text(bytes)));
    }),
    ("borg-unpacked", |bytes| drop(unpacked(bytes))),
    ("engine-config", config),
    ("engine-event", |bytes| {
        drop(serde_json::from_slice::<engine::Event>(bytes));
    }),
    ("engine-schedule", |bytes| {
        let _ = Schedule::parse(&text(bytes));
    }),
    ("store-b2", |bytes| answer(0, bytes)),
    ("store-dropbox", |bytes| answer(1, bytes)),
    ("store-drive", |bytes| answer(2, bytes)),
    ("store-s3", |bytes| answer(3, bytes)),
    ("store-webdav", |bytes| answer(4, bytes)),
    ("tree-acl", |bytes| drop(Acl::decode(bytes, &mut ()))),
    ("tree-path", |bytes| drop(TreePath::new(bytes))),
    ("tree-pattern", pattern),
];

/// All parsers.
pub fn parsers() -> impl Iterator<Item = Parser> {
    let of_crates = [
        OPEN,
        borg::fuzz::PARSERS,
        drop::fuzz::PARSERS,
        duplicity::fuzz::PARSERS,
        store::fuzz::PARSERS,
        web::fuzz::PARSERS,
    ];
    let all = of_crates.into_iter().flatten();
    all.map(|&(name, read)| Parser { name, read })
}

/// Where the examples of a parser stand.
#[must_use]
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Answers to one of [`answers::LOCATIONS`].
fn answer(index: usize, bytes: &[u8]) {
    if let Some((_, location)) = answers::LOCATIONS.get(index) {
        let _ = answers::read(location, bytes);
    }
}

/// A stream in two pieces, so that an item lies across the cut.
fn items(bytes: &[u8]) {
    let mut reader = ItemReader::new();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    for piece in [first, second] {
        reader.push(piece);
        while let Ok(Some(_)) = reader.next_item() {}
    }
    let _ = reader.finish();
}

fn object(bytes: &[u8]) {
    let Ok(mut opener) = Opener::new() else {
        return;
    };
    let sealed = Sealed {
        id: Id::MANIFEST,
        stored: bytes,
        size_hint: None,
    };
    let key = Key::plaintext(Id::MANIFEST);
    let _ = key.open(sealed, &mut opener, &mut Buffer::new());
}

fn payload(bytes: &[u8]) {
    if let Ok(mut decompressor) = Decompressor::new() {
        let _ = decompressor.decompress(bytes, None, &mut Buffer::new());
    }
}

fn config(bytes: &[u8]) {
    static PLACES: OnceLock<Places> = OnceLock::new();
    let home = Path::new("/home/ada");
    let places = PLACES.get_or_init(|| Places::from_environment(home, |_| None));
    drop(Config::parse(
        &text(bytes),
        Path::new("/home/ada/ravelin.toml"),
        places,
    ));
}

/// A pattern, and behind its first line what it is to match.
fn pattern(bytes: &[u8]) {
    let text = text(bytes);
    let (pattern, path) = text.split_once('\n').unwrap_or((&text, "home/ada/letter"));
    if let Ok(pattern) = Pattern::new(pattern) {
        let _ = pattern.matches(path.as_bytes());
    }
}
