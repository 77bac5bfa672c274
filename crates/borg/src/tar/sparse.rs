//! Files with holes, as GNU tar puts them into PAX headers: their data are kept close together,
//! and a map says where each stretch belongs.
//!
//! Source: "Storing Sparse Files" in the manual of GNU tar. Form 1.0 has the map in front of the
//! data, form 0.1 in a record. Form 0.0, which GNU tar has not written since 2006, is not read.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Digits of a number in a map.
const DIGITS_MAX: usize = 20;

/// Bytes of a block; a map in front of the data is padded to a whole one.
const BLOCK: u64 = 512;

/// Stretches in a map; GNU tar itself gives up earlier. Each takes 16 bytes of memory.
const STRETCHES_MAX: u64 = 1 << 22;

/// What the records of a member say about its holes.
pub(super) struct Sparse {
    pub(super) path: Option<Vec<u8>>,
    size: u64,
    /// `None`: it is in front of the data.
    map: Option<Vec<Stretch>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    offset: u64,
    size: u64,
}

impl Sparse {
    /// `None` for a member without holes.
    pub(super) fn of(records: &BTreeMap<String, Vec<u8>>) -> io::Result<Option<Self>> {
        let is_spoken_of = records.keys().any(|key| key.starts_with("GNU.sparse."));
        if !is_spoken_of {
            return Ok(None);
        }
        let number = |key: &str| records.get(key).map(|text| number(text)).transpose();
        let path = records.get("GNU.sparse.name").cloned();
        if number("GNU.sparse.major")? == Some(1) {
            let size = number("GNU.sparse.realsize")?;
            return Ok(Some(Self {
                path,
                size: size.ok_or_else(|| bad("a file with holes has no size"))?,
                map: None,
            }));
        }
        let size = number("GNU.sparse.size")?;
        match (size, records.get("GNU.sparse.map")) {
            (Some(size), Some(map)) => {
                let numbers: io::Result<Vec<u64>> =
                    map.split(|byte| *byte == b',').map(self::number).collect();
                let numbers = numbers?;
                let (pairs, []) = numbers.as_chunks::<2>() else {
                    return Err(bad("a map of holes has an odd number of numbers"));
                };
                let map = pairs.iter();
                let map = map.map(|[offset, size]| Stretch {
                    offset: *offset,
                    size: *size,
                });
                let map = checked(map.collect(), size)?;
                Ok(Some(Self {
                    path,
                    size,
                    map: Some(map),
                }))
            }
            _ => Err(bad("a file with holes is in a form that is not known")),
        }
    }

    /// The whole content.
    pub(super) fn fill<R: Read>(self, mut data: R) -> io::Result<Filled<R>> {
        let map = match self.map {
            Some(map) => map,
            None => read_map(&mut data, self.size)?,
        };
        Ok(Filled {
            data,
            stretches: map.into_iter(),
            stretch: None,
            position: 0,
            size: self.size,
        })
    }
}

/// The content with its holes, as zeros.
pub(super) struct Filled<R> {
    data: R,
    stretches: std::vec::IntoIter<Stretch>,
    /// What is left of the one at hand.
    stretch: Option<Stretch>,
    position: u64,
    size: u64,
}

impl<R: Read> Read for Filled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stretch.is_none_or(|stretch| stretch.size == 0) {
                self.stretch = self.stretches.next();
                if self.stretch.is_some_and(|stretch| stretch.size == 0) {
                    continue;
                }
            }
            let (data_at, data_size) = match self.stretch {
                Some(Stretch { offset, size }) => (offset, size),
                None => (self.size, 0),
            };
            let is_hole = self.position < data_at;
            let left = if is_hole {
                data_at - self.position
            } else {
                data_size
            };
            let count = usize::try_from(left).unwrap_or(usize::MAX);
            let count = count.min(buffer.len());
            let Some(part) = buffer.get_mut(..count).filter(|part| !part.is_empty()) else {
                return Ok(0);
            };
            let count = if is_hole {
                part.fill(0);
                count
            } else {
                match self.data.read(part)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => count,
                }
            };
            self.position += count as u64;
            if let (false, Some(stretch)) = (is_hole, &mut self.stretch) {
                stretch.offset += count as u64;
                stretch.size -= count as u64;
            }
            return Ok(count);
        }
    }
}

/// Reads the map of form 1.0: lines of numbers, how many there are first, up to a whole block.
fn read_map(data: &mut impl Read, size: u64) -> io::Result<Vec<Stretch>> {
    let mut taken = 0;
    let mut line = || -> io::Result<u64> {
        let mut text = Vec::new();
        loop {
            let mut byte = [0];
            data.read_exact(&mut byte)?;
            taken += 1;
            match byte {
                [b'\n'] => return number(&text),
                _ if text.len() == DIGITS_MAX => return Err(bad("a map of holes has no numbers")),
                [digit] => text.push(digit),
            }
        }
    };
    let count = line()?;
    if count > STRETCHES_MAX {
        return Err(bad("a map of holes is too long"));
    }
    let mut map = Vec::new();
    for _ in 0..count {
        let (offset, size) = (line()?, line()?);
        map.push(Stretch { offset, size });
    }
    let padding = (BLOCK - taken % BLOCK) % BLOCK;
    io::copy(&mut data.take(padding), &mut io::sink())?;
    checked(map, size)
}

/// Stretches must follow each other, inside the file.
fn checked(map: Vec<Stretch>, size: u64) -> io::Result<Vec<Stretch>> {
    let mut end = 0;
    for stretch in &map {
        let next = stretch.offset.checked_add(stretch.size);
        match next.filter(|next| stretch.offset >= end && *next <= size) {
            Some(next) => end = next,
            None => return Err(bad("a map of holes leads out of its file")),
        }
    }
    Ok(map)
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = std::str::from_utf8(text).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| bad("a map of holes has no numbers"))
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(of: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let pairs = of.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    fn content(of: &[(&str, &str)], data: &[u8]) -> io::Result<Vec<u8>> {
        let sparse = Sparse::of(&records(of))?.unwrap();
        let mut content = Vec::new();
        sparse.fill(data)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn holes_are_filled_in_both_forms() {
        let mut data = b"3\n2\n3\n7\n1\n10\n0\n".to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"abcd");
        let one = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "10"),
        ];
        assert_eq!(content(&one, &data).unwrap(), b"\0\0abc\0\0d\0\0");
        let older = [("GNU.sparse.size", "6"), ("GNU.sparse.map", "0,2,4,1")];
        assert_eq!(content(&older, b"abc").unwrap(), b"ab\0\0c\0");
        assert!(Sparse::of(&records(&[("path", "x")])).unwrap().is_none());
    }

    #[test]
    fn a_map_that_is_wrong_is_refused() {
        for map in ["0", "4,1,0,1", "5,2", "0,-1", "18446744073709551615,1", ""] {
            let of = [("GNU.sparse.size", "6"), ("GNU.sparse.map", map)];
            assert!(Sparse::of(&records(&of)).is_err(), "{map}");
        }
        assert!(Sparse::of(&records(&[("GNU.sparse.offset", "0")])).is_err());
        let one = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "10")];
        for data in [
            "",
            "1\n",
            "99999999999\n",
            "000000000000000000000000000",
            "1\n0\n5\n",
        ] {
            assert!(content(&one, data.as_bytes()).is_err(), "{data}");
        }
    }
}
