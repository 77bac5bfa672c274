//! Writes values at the end of a buffer.

use std::collections::btree_map;
use std::iter::Peekable;

use super::Others;

/// Appends values to a buffer, in Borg's spelling.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Opens a map of so many entries. The caller writes that many keys and values, keys in
    /// ascending order.
    pub(crate) fn map(&mut self, length: usize) {
        self.container(length, 0x80, 0xde);
    }

    /// Opens an array of so many values, which the caller writes.
    pub(crate) fn array(&mut self, length: usize) {
        self.container(length, 0x90, 0xdc);
    }

    /// A text or a binary: the old format does not tell them apart.
    pub(crate) fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        match bytes.len() {
            #[expect(clippy::cast_possible_truncation, reason = "below 32")]
            length @ 0..=31 => self.out.push(0xa0 | length as u8),
            length => self.long_length(length, 0xda),
        }
        self.out.extend_from_slice(bytes);
    }

    /// An integer that is not negative.
    pub(crate) fn unsigned(&mut self, value: u64) {
        let bytes = value.to_be_bytes();
        let [.., b4, b5, b6, b7] = bytes;
        match value {
            0..=0x7f => self.out.push(b7),
            0x80..=0xff => self.out.extend_from_slice(&[0xcc, b7]),
            0x100..=0xffff => self.out.extend_from_slice(&[0xcd, b6, b7]),
            0x1_0000..=0xffff_ffff => self.out.extend_from_slice(&[0xce, b4, b5, b6, b7]),
            _ => {
                self.out.push(0xcf);
                self.out.extend_from_slice(&bytes);
            }
        }
    }

    /// Any integer of 64 bits with a sign.
    pub(crate) fn signed(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            return self.unsigned(value);
        }
        let bytes = value.to_be_bytes();
        let [.., b4, b5, b6, b7] = bytes;
        match value {
            -0x20.. => self.out.push(b7),
            -0x80.. => self.out.extend_from_slice(&[0xd0, b7]),
            -0x8000.. => self.out.extend_from_slice(&[0xd1, b6, b7]),
            -0x8000_0000.. => self.out.extend_from_slice(&[0xd2, b4, b5, b6, b7]),
            _ => {
                self.out.push(0xd3);
                self.out.extend_from_slice(&bytes);
            }
        }
    }

    /// A number with a fraction, as it is used between programs; Borg stores none.
    pub(crate) fn float(&mut self, value: f64) {
        self.out.push(0xcb);
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    /// True or false.
    pub(crate) fn boolean(&mut self, value: bool) {
        self.out.push(if value { 0xc3 } else { 0xc2 });
    }

    /// Nothing: Python's `None`.
    pub(crate) fn nil(&mut self) {
        self.out.push(0xc0);
    }

    /// A value that is spelt already.
    pub(crate) fn encoded(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// How many bytes stand in the buffer: where the next value will begin.
    pub(crate) fn position(&self) -> usize {
        self.out.len()
    }

    fn container(&mut self, length: usize, short: u8, long: u8) {
        match length {
            #[expect(clippy::cast_possible_truncation, reason = "below 16")]
            0..=15 => self.out.push(short | length as u8),
            length => self.long_length(length, long),
        }
    }

    /// The 16-bit form `marker`, or the 32-bit form, which always has the next number.
    fn long_length(&mut self, length: usize, marker: u8) {
        if let Ok(length) = u16::try_from(length) {
            self.out.push(marker);
            self.out.extend_from_slice(&length.to_be_bytes());
        } else {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            self.out.push(marker + 1);
            self.out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Writes a map whose entries are not counted beforehand, in the order of their keys.
///
/// Entries that were read and are not understood are put where they belong in that order.
pub(crate) struct MapWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    entries: usize,
    others: Peekable<btree_map::Iter<'a, Vec<u8>, Vec<u8>>>,
}

impl<'a> MapWriter<'a> {
    /// Begins a map at the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>, others: &'a Others) -> Self {
        let start = out.len();
        // A map of up to 15 entries, as nearly all are.
        out.push(0x80);
        Self {
            out,
            start,
            entries: 0,
            others: others.iter().peekable(),
        }
    }

    /// Writes a key; its value has to be written next. Keys come in ascending order.
    pub(crate) fn key(&mut self, key: &str) -> Writer<'_> {
        self.write_others(|other| other < key.as_bytes());
        self.entries += 1;
        Writer::new(self.out).raw(key);
        Writer::new(self.out)
    }

    /// Writes what is left and the number of entries. Gives by how many bytes the entries had
    /// to be moved to make room for that number.
    pub(crate) fn finish(mut self) -> usize {
        self.write_others(|_| true);
        let mut head = Vec::with_capacity(5);
        Writer::new(&mut head).map(self.entries);
        let moved = head.len() - 1;
        self.out.splice(self.start..=self.start, head);
        moved
    }

    fn write_others(&mut self, mut belongs: impl FnMut(&[u8]) -> bool) {
        while let Some((key, value)) = self.others.next_if(|(key, _)| belongs(key)) {
            self.entries += 1;
            Writer::new(self.out).raw(key);
            self.out.extend_from_slice(value);
        }
    }
}
