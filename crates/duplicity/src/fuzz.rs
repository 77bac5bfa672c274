//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser.

use std::io::{self, Read};

use crate::blocks::BlockReader;
use crate::gunzip::Gunzip;
use crate::librsync::{Command, DeltaReader, Signature};
use crate::openpgp::read::open;
use crate::tar::TarReader;
use crate::{Manifest, MemberName, Passphrase, Prefixes, SetTime, entry_of};

/// What is read of one input at most: compression makes much of little.
const READ_MAX: u64 = 1 << 20;

/// A name, and what reads.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: &[Parser] = &[
    ("duplicity-manifest", |bytes| drop(Manifest::parse(bytes))),
    ("duplicity-name", |bytes| {
        let _ = Prefixes::default().read(&String::from_utf8_lossy(bytes));
    }),
    ("duplicity-time", |bytes| {
        let _ = SetTime::parse(&String::from_utf8_lossy(bytes));
    }),
    ("duplicity-tar", tar),
    ("duplicity-signature", |bytes| drop(Signature::parse(bytes))),
    ("duplicity-delta", delta),
    ("duplicity-openpgp", openpgp),
    ("duplicity-gzip", |bytes| {
        let plain = BlockReader::new(Gunzip::new(io::Cursor::new(bytes.to_vec())));
        let _ = io::copy(&mut plain.take(READ_MAX), &mut io::sink());
    }),
];

fn tar(bytes: &[u8]) {
    let mut tar = TarReader::new(bytes);
    while let Ok(Some(header)) = tar.next() {
        if let Ok(name) = MemberName::parse(&header.name) {
            drop(entry_of(name.path, &header));
        }
        let _ = io::copy(&mut tar.data().take(READ_MAX), &mut io::sink());
    }
}

fn delta(bytes: &[u8]) {
    let mut delta = DeltaReader::new(bytes);
    while let Ok(Some(command)) = delta.command() {
        if let Command::Literal(length) = command {
            let literal = &mut delta.literal().take(length);
            if io::copy(literal, &mut io::sink()).ok() != Some(length) {
                break;
            }
        }
    }
}

fn openpgp(bytes: &[u8]) {
    let passphrase = Passphrase::new("secret");
    let input = io::Cursor::new(bytes.to_vec());
    if let Ok(plain) = open(input, Some(&passphrase)) {
        let _ = io::copy(&mut plain.take(READ_MAX), &mut io::sink());
    }
}
