//! Reads values from a slice, without copying them.

use super::scan::Scanner;
use super::{Malformed, Others};

/// Reads one value after the other from the front of a slice.
///
/// Each method consumes one value, or the head of one container. After an error the reader
/// must not be used further.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// What a value says of itself before its content.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Head {
    /// Python's `None`.
    Nil,
    /// True or false.
    Boolean(bool),
    /// An integer that is not negative.
    Unsigned(u64),
    /// An integer below zero.
    Negative(i64),
    /// A floating-point number.
    Float(f64),
    /// A text or binary; so many bytes follow.
    Raw(usize),
    /// So many values follow.
    Array(usize),
    /// So many keys follow, each with its value.
    Map(usize),
}

impl<'a> Reader<'a> {
    /// Reads from the first byte of `bytes` on.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Offset of the next value.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Says that `expected` does not stand at the next value.
    pub(crate) fn unexpected(&self, expected: &'static str) -> Malformed {
        Malformed::Unexpected {
            expected,
            at: self.position,
        }
    }

    /// The number of entries of a map; its keys and values are the next values.
    ///
    /// Never more than the bytes that are left could hold.
    pub(crate) fn map(&mut self) -> Result<usize, Malformed> {
        let start = self.clone();
        match self.head()? {
            // An entry takes two bytes at least.
            Head::Map(length) => self.believable(length, 2),
            _ => Err(start.unexpected("a map")),
        }
    }

    /// The number of values of an array; they are the next values.
    ///
    /// Never more than the bytes that are left could hold.
    pub(crate) fn array(&mut self) -> Result<usize, Malformed> {
        let start = self.clone();
        match self.head()? {
            Head::Array(length) => self.believable(length, 1),
            _ => Err(start.unexpected("an array")),
        }
    }

    /// The bytes of a text or binary.
    pub(crate) fn raw(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.clone();
        match self.head()? {
            Head::Raw(length) => self.take(length),
            _ => Err(start.unexpected("a text")),
        }
    }

    /// The bytes of a binary of a known size.
    pub(crate) fn raw_array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let start = self.clone();
        self.raw()?
            .try_into()
            .map_err(|_| start.unexpected("a binary of another size"))
    }

    /// An integer that is not negative.
    pub(crate) fn unsigned(&mut self) -> Result<u64, Malformed> {
        let start = self.clone();
        match self.head()? {
            Head::Unsigned(value) => Ok(value),
            _ => Err(start.unexpected("a number that is not negative")),
        }
    }

    /// An integer that fits 32 bits and is not negative.
    pub(crate) fn unsigned_32(&mut self) -> Result<u32, Malformed> {
        let start = self.clone();
        u32::try_from(self.unsigned()?).map_err(|_| start.unexpected("a number below 2^32"))
    }

    /// An integer that fits 64 bits with a sign.
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let start = self.clone();
        match self.head()? {
            Head::Negative(value) => Ok(value),
            Head::Unsigned(value) => {
                i64::try_from(value).map_err(|_| start.unexpected("a number below 2^63"))
            }
            _ => Err(start.unexpected("a number")),
        }
    }

    /// True or false.
    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        let start = self.clone();
        match self.head()? {
            Head::Boolean(value) => Ok(value),
            _ => Err(start.unexpected("true or false")),
        }
    }

    /// Consumes a nil, if one stands here.
    pub(crate) fn nil(&mut self) -> bool {
        let nil = self.bytes.get(self.position) == Some(&0xc0);
        self.position += usize::from(nil);
        nil
    }

    /// A whole value of any kind, as it is spelt.
    pub(crate) fn encoded(&mut self) -> Result<&'a [u8], Malformed> {
        let rest = self.rest();
        let length = Scanner::new().scan(rest)?.ok_or(Malformed::Truncated)?;
        self.take(length)
    }

    /// A whole value of any kind, to be kept among `others` under `key`.
    ///
    /// There may be a thousand of them, far more than anybody ever wrote, so that a crafted map
    /// cannot be made to take many times its size in memory.
    pub(crate) fn other(&mut self, key: &[u8], others: &mut Others) -> Result<(), Malformed> {
        const OTHERS_MAX: usize = 1000;
        let value = self.encoded()?;
        if others.len() >= OTHERS_MAX {
            return Err(self.unexpected("fewer unknown keys"));
        }
        match others.insert(key.to_vec(), value.to_vec()) {
            None => Ok(()),
            Some(_) => Err(Malformed::DuplicateKey { key: "unknown" }),
        }
    }

    /// Passes over a whole value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        self.encoded().map(drop)
    }

    /// Makes sure that nothing is left.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest().is_empty() {
            Ok(())
        } else {
            Err(Malformed::Trailing { at: self.position })
        }
    }

    /// What has not been read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The head of the next value; the content of a raw value is the next [`Self::take`].
    pub(crate) fn head(&mut self) -> Result<Head, Malformed> {
        let start = self.clone();
        let [marker] = *self.chunk()?;
        Ok(match marker {
            0x00..=0x7f => Head::Unsigned(u64::from(marker)),
            0x80..=0x8f => Head::Map(usize::from(marker & 0x0f)),
            0x90..=0x9f => Head::Array(usize::from(marker & 0x0f)),
            0xa0..=0xbf => Head::Raw(usize::from(marker & 0x1f)),
            0xc0 => Head::Nil,
            0xc2 => Head::Boolean(false),
            0xc3 => Head::Boolean(true),
            0xca => Head::Float(f64::from(f32::from_be_bytes(*self.chunk()?))),
            0xcb => Head::Float(f64::from_be_bytes(*self.chunk()?)),
            0xcc => Head::Unsigned(u64::from(u8::from_be_bytes(*self.chunk()?))),
            0xcd => Head::Unsigned(u64::from(u16::from_be_bytes(*self.chunk()?))),
            0xce => Head::Unsigned(u64::from(u32::from_be_bytes(*self.chunk()?))),
            0xcf => Head::Unsigned(u64::from_be_bytes(*self.chunk()?)),
            0xd0 => integer(i64::from(i8::from_be_bytes(*self.chunk()?))),
            0xd1 => integer(i64::from(i16::from_be_bytes(*self.chunk()?))),
            0xd2 => integer(i64::from(i32::from_be_bytes(*self.chunk()?))),
            0xd3 => integer(i64::from_be_bytes(*self.chunk()?)),
            0xc4 | 0xd9 => Head::Raw(usize::from(u8::from_be_bytes(*self.chunk()?))),
            0xc5 | 0xda => Head::Raw(self.length_16()?),
            0xc6 | 0xdb => Head::Raw(self.length_32()?),
            0xdc => Head::Array(self.length_16()?),
            0xdd => Head::Array(self.length_32()?),
            0xde => Head::Map(self.length_16()?),
            0xdf => Head::Map(self.length_32()?),
            0xe0..=0xff => Head::Negative(i64::from(marker.cast_signed())),
            // Never used, and extension types, which Borg does not have.
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => return Err(start.unexpected("a value")),
        })
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self.rest().get(..length).ok_or(Malformed::Truncated)?;
        self.position += length;
        Ok(bytes)
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let bytes = self.rest().first_chunk().ok_or(Malformed::Truncated)?;
        self.position += N;
        Ok(bytes)
    }

    fn length_16(&mut self) -> Result<usize, Malformed> {
        Ok(usize::from(u16::from_be_bytes(*self.chunk()?)))
    }

    fn length_32(&mut self) -> Result<usize, Malformed> {
        usize::try_from(u32::from_be_bytes(*self.chunk()?)).map_err(|_| Malformed::Truncated)
    }

    fn believable(&self, length: usize, size_min: usize) -> Result<usize, Malformed> {
        if length > self.rest().len() / size_min {
            return Err(Malformed::Truncated);
        }
        Ok(length)
    }
}

fn integer(value: i64) -> Head {
    u64::try_from(value).map_or(Head::Negative(value), Head::Unsigned)
}

/// Takes the value of a key of a map, which must not have come before.
pub(crate) fn fill<T>(place: &mut Option<T>, value: T, key: &'static str) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed::DuplicateKey { key }),
    }
}

/// The value of a key that must have been there.
pub(crate) fn required<T>(value: Option<T>, key: &'static str) -> Result<T, Malformed> {
    value.ok_or(Malformed::MissingKey { key })
}
