//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser.

use crate::Location;
use crate::sftp::wire::{Attributes, Fields, read_message};
use crate::{http, xml};

/// A name, and what reads.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them.
pub const PARSERS: &[Parser] = &[
    ("store-xml", |bytes| drop(xml::parse(bytes))),
    ("store-sftp", sftp),
    ("store-http-date", |bytes| {
        let _ = http::parse_http_date(&String::from_utf8_lossy(bytes));
    }),
    ("store-location", |bytes| {
        if let Ok(location) = String::from_utf8_lossy(bytes).parse::<Location>() {
            drop(location.to_string());
        }
    }),
];

/// The answers of a server: a handle, a list of names with what is told of them.
fn sftp(mut bytes: &[u8]) {
    while let Ok(Some((_, message))) = read_message(&mut bytes) {
        let mut fields = Fields(&message);
        while fields.bytes().is_some() && Attributes::read(&mut fields).is_some() {}
    }
}
