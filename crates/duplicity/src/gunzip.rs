//! The plain bytes of a gzip file, whose members are decoded by several threads where they allow it.
//!
//! Format: RFC 1952.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

use crate::blocks::Blocks;
use crate::inflate::Inflate;

/// What a member begins with: the file's mark, and deflate as its method.
const MARK: [u8; 3] = [0x1f, 0x8b, 8];

/// Parts of a head that may be there.
const CHECKSUM: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
/// Of those that mean nothing yet, nobody knows how long they are.
const UNKNOWN: u8 = 0b1110_0000;

/// A gzip file that is decoded. Its checksums are verified: an end is the end of a whole file.
pub(crate) struct Gunzip<R> {
    place: Place<R>,
    /// Of what the member gave so far, with its size modulo 2³².
    checksum: crc32fast::Hasher,
    size: u32,
}

enum Place<R> {
    /// Before the head of a member, of which bytes may have been read.
    Head(Vec<u8>, R),
    Member(Inflate<R>),
    /// Behind the end or an error.
    Over,
}

impl<R: BufRead> Gunzip<R> {
    /// Nothing is read yet.
    pub(crate) fn new(input: R) -> Self {
        Self {
            place: Place::Head(Vec::new(), input),
            checksum: crc32fast::Hasher::new(),
            size: 0,
        }
    }

    /// Compares what was made with what the member says of itself. `None` when no other one follows.
    fn end_member(&mut self, inflate: Inflate<R>) -> io::Result<Option<Place<R>>> {
        let (read, input) = inflate.into_behind().ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut input = Cursor::new(read).chain(input);
        let (mut checksum, mut said) = ([0; 4], [0; 4]);
        input.read_exact(&mut checksum)?;
        input.read_exact(&mut said)?;
        let made = std::mem::take(&mut self.checksum).finalize();
        let size = std::mem::take(&mut self.size);
        if u32::from_le_bytes(checksum) != made || u32::from_le_bytes(said) != size {
            return Err(invalid("the content has not the checksum of the gzip file"));
        }
        if input.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let (read, input) = input.into_inner();
        Ok(Some(Place::Head(rest_of(read), input)))
    }
}

/// Passes over the head of a member.
fn skip_head(input: &mut impl BufRead) -> io::Result<()> {
    let mut head = [0; 10];
    input.read_exact(&mut head)?;
    let [a, b, method, parts, ..] = head;
    if [a, b, method] != MARK || parts & UNKNOWN != 0 {
        return Err(invalid("it is no gzip file"));
    }
    if parts & EXTRA != 0 {
        let mut length = [0; 2];
        input.read_exact(&mut length)?;
        skip(input, u16::from_le_bytes(length))?;
    }
    for part in [NAME, COMMENT] {
        if parts & part != 0 {
            input.skip_until(0)?;
        }
    }
    if parts & CHECKSUM != 0 {
        skip(input, 2)?;
    }
    Ok(())
}

fn skip(input: &mut impl BufRead, count: u16) -> io::Result<()> {
    let skipped = io::copy(&mut input.take(count.into()), &mut io::sink())?;
    match skipped == u64::from(count) {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What is left of bytes that were read in part.
fn rest_of(read: Cursor<Vec<u8>>) -> Vec<u8> {
    let at = at(&read);
    let mut bytes = read.into_inner();
    bytes.drain(..at.min(bytes.len()));
    bytes
}

fn at(read: &Cursor<Vec<u8>>) -> usize {
    usize::try_from(read.position()).unwrap_or(usize::MAX)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<R: BufRead> Blocks for Gunzip<R> {
    fn next_block(&mut self, used: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>> {
        self.place = match std::mem::replace(&mut self.place, Place::Over) {
            Place::Head(read, input) => {
                let mut input = Cursor::new(read).chain(input);
                skip_head(&mut input)?;
                let (read, input) = input.into_inner();
                Place::Member(Inflate::resume(rest_of(read), input))
            }
            Place::Member(mut inflate) => match inflate.next_block(used)? {
                Some(block) => {
                    let plain = block.get_ref().get(at(&block)..).unwrap_or_default();
                    self.checksum.update(plain);
                    let size = u32::try_from(plain.len()).unwrap_or(0);
                    self.size = self.size.wrapping_add(size);
                    self.place = Place::Member(inflate);
                    return Ok(Some(block));
                }
                None => match self.end_member(inflate)? {
                    Some(next) => next,
                    None => return Ok(None),
                },
            },
            Place::Over => return Err(io::Error::other("the file is broken")),
        };
        Ok(Some(Cursor::default()))
    }
}

impl<R> fmt::Debug for Gunzip<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gunzip").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};
    use testkit::Random;

    use super::*;
    use crate::blocks::BlockReader;

    fn gunzip(file: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let input = io::BufReader::with_capacity(777, Cursor::new(file.to_vec()));
        BlockReader::new(Gunzip::new(input)).read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn member(plain: &[u8], builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_with_every_kind_of_head_are_one_file() {
        let text = b"several independent layers ".repeat(30_000);
        let heads = [
            GzBuilder::new(),
            GzBuilder::new().filename("a name").mtime(7),
            GzBuilder::new().comment("words").extra(vec![1; 300]),
            GzBuilder::new().filename("x").comment("y").extra(vec![]),
        ];
        let file: Vec<u8> = heads
            .into_iter()
            .flat_map(|head| member(&text, head))
            .collect();
        assert!(gunzip(&file).unwrap() == text.repeat(4));
        assert_eq!(gunzip(&member(b"", GzBuilder::new())).unwrap(), b"");
    }

    #[test]
    fn what_is_cut_changed_or_none_is_an_error() {
        let plain = Random::new(21).noise(3000);
        let file = member(&plain, GzBuilder::new().filename("name"));
        for end in 0..file.len() {
            gunzip(&file[..end]).unwrap_err();
        }
        let tail = file.len() - 8;
        for at in [0, 1, 2, 40, tail, tail + 5] {
            let mut changed = file.clone();
            changed[at] ^= 0x40;
            gunzip(&changed).unwrap_err();
        }
        gunzip(&[file.as_slice(), b"more"].concat()).unwrap_err();
    }
}
