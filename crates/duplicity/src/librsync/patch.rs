//! Patches: deltas read command by command, and chains of them folded into one.
//!
//! A delta of an increment refers to the file before it, which is itself a delta away from the
//! one before that. [`Splice`] follows these references, so that a chain of any length is written
//! once and no file in between ever exists.

use std::io::{self, Read};

use super::DELTA_MAGIC;

/// Most pieces that a file may be spliced from. A delta that needs more was made to exhaust us: at
/// the smallest block length this is a file of 8 GiB in which no two neighbours stayed together.
const PIECES_MAX: usize = 1 << 24;

/// Why bytes are not a delta for the file at hand.
#[derive(Debug, thiserror::Error)]
pub enum BadDelta {
    /// The magic is another.
    #[error("not a librsync delta")]
    Magic,
    /// A command that librsync does not know.
    #[error("unknown command {0:#04x} in a delta")]
    Command(u8),
    /// It ends without an end command.
    #[error("the delta is cut off")]
    CutOff,
    /// A copy from behind the end of the old file.
    #[error("the delta copies {length} bytes from {start}, but the file it refers to has {size}")]
    Range {
        /// First byte.
        start: u64,
        /// How many.
        length: u64,
        /// Size of the old file.
        size: u64,
    },
    /// A file that is larger or in more pieces than the limits allow.
    #[error("the delta makes a file beyond all limits")]
    TooLarge,
    /// The delta could not be read.
    #[error("cannot read the delta")]
    Read(#[from] io::Error),
}

/// One command of a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// So many bytes follow in the delta: read them before the next command.
    Literal(u64),
    /// Bytes of the old file.
    Copy {
        /// First byte.
        start: u64,
        /// How many.
        length: u64,
    },
}

/// Reads a delta.
#[derive(Debug)]
pub struct DeltaReader<R> {
    input: R,
    begun: bool,
}

impl<R: Read> DeltaReader<R> {
    /// Nothing is read yet.
    pub fn new(input: R) -> Self {
        Self {
            input,
            begun: false,
        }
    }

    /// The next command; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`BadDelta`] when librsync did not write this.
    pub fn command(&mut self) -> Result<Option<Command>, BadDelta> {
        if !self.begun {
            if self.integer(4)? != u64::from(DELTA_MAGIC) {
                return Err(BadDelta::Magic);
            }
            self.begun = true;
        }
        let [code] = self.bytes()?;
        let width = |code: u8| 1_usize << code;
        Ok(Some(match code {
            0 => return Ok(None),
            1..=0x40 => Command::Literal(code.into()),
            0x41..=0x44 => Command::Literal(self.integer(width(code - 0x41))?),
            0x45..=0x54 => {
                let code = code - 0x45;
                let start = self.integer(width(code / 4))?;
                let length = self.integer(width(code % 4))?;
                Command::Copy { start, length }
            }
            unknown => return Err(BadDelta::Command(unknown)),
        }))
    }

    /// The bytes behind a [`Command::Literal`].
    pub fn literal(&mut self) -> &mut R {
        &mut self.input
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], BadDelta> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(BadDelta::CutOff),
            Err(error) => Err(error.into()),
        }
    }

    fn integer(&mut self, width: usize) -> Result<u64, BadDelta> {
        let mut value = 0;
        for _ in 0..width {
            let [byte] = self.bytes()?;
            value = value << 8 | u64::from(byte);
        }
        Ok(value)
    }
}

/// Where the bytes of a piece are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the file that the chain starts from.
    Base,
    /// Among the literal bytes gathered from the deltas.
    Literals,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Where it starts in the spliced file.
    start: u64,
    length: u64,
    source: Source,
    /// Where it starts there.
    at: u64,
}

/// A file described as pieces of others.
#[derive(Debug, Clone)]
pub struct Splice {
    pieces: Vec<Piece>,
    size: u64,
    size_max: u64,
}

impl Splice {
    /// The base file as it is. Nothing that is spliced from it may exceed `size_max` bytes.
    #[must_use]
    pub fn new(base_size: u64, size_max: u64) -> Self {
        let whole = Piece {
            start: 0,
            length: base_size,
            source: Source::Base,
            at: 0,
        };
        let pieces = if base_size == 0 {
            Vec::new()
        } else {
            vec![whole]
        };
        Self {
            pieces,
            size: base_size,
            size_max,
        }
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pieces in order: where the bytes are, from which byte, and how many.
    pub fn pieces(&self) -> impl Iterator<Item = (Source, u64, u64)> {
        self.pieces
            .iter()
            .map(|piece| (piece.source, piece.at, piece.length))
    }

    /// Applies one more delta. Its literal bytes are appended to `literals`, which holds
    /// `literals_size` bytes so far; the new number is given back.
    ///
    /// # Errors
    ///
    /// [`BadDelta`] when the delta does not fit or `literals` cannot be written.
    pub fn apply(
        &mut self,
        delta: impl Read,
        literals: &mut dyn io::Write,
        mut literals_size: u64,
    ) -> Result<u64, BadDelta> {
        let mut next = Self {
            pieces: Vec::new(),
            size: 0,
            size_max: self.size_max,
        };
        let mut reader = DeltaReader::new(delta);
        while let Some(command) = reader.command()? {
            match command {
                Command::Literal(length) => {
                    next.push(Source::Literals, literals_size, length)?;
                    let copied = io::copy(&mut reader.literal().take(length), literals)?;
                    if copied < length {
                        return Err(BadDelta::CutOff);
                    }
                    literals_size += length;
                }
                Command::Copy { start, length } => self.copy_into(&mut next, start, length)?,
            }
        }
        *self = next;
        Ok(literals_size)
    }

    fn push(&mut self, source: Source, at: u64, length: u64) -> Result<(), BadDelta> {
        let size = self
            .size
            .checked_add(length)
            .filter(|&size| size <= self.size_max);
        let size = size.ok_or(BadDelta::TooLarge)?;
        let count = self.pieces.len();
        match self.pieces.last_mut() {
            Some(last) if last.source == source && last.at + last.length == at => {
                last.length += length;
            }
            _ if length == 0 => {}
            _ if count >= PIECES_MAX => return Err(BadDelta::TooLarge),
            _ => self.pieces.push(Piece {
                start: self.size,
                length,
                source,
                at,
            }),
        }
        self.size = size;
        Ok(())
    }

    /// Appends a range of this file to another.
    fn copy_into(&self, next: &mut Self, start: u64, length: u64) -> Result<(), BadDelta> {
        let end = start.checked_add(length).filter(|&end| end <= self.size);
        let end = end.ok_or(BadDelta::Range {
            start,
            length,
            size: self.size,
        })?;
        let first = self
            .pieces
            .partition_point(|piece| piece.start + piece.length <= start);
        for piece in self.pieces.get(first..).unwrap_or_default() {
            if piece.start >= end {
                break;
            }
            let from = start.max(piece.start);
            let to = end.min(piece.start + piece.length);
            next.push(piece.source, piece.at + (from - piece.start), to - from)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeltaWriter, Signature, SignatureWriter};
    use super::*;

    fn signature(bytes: &[u8], block_length: u32) -> Signature {
        let mut out = Vec::new();
        let mut writer = SignatureWriter::new(block_length, &mut out);
        writer.push(bytes, &mut out);
        writer.finish(&mut out);
        Signature::parse(&out).unwrap()
    }

    fn delta(old: &[u8], new: &[u8], step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = DeltaWriter::new(signature(old, 512), &mut out);
        for piece in new.chunks(step) {
            writer.push(piece, &mut out);
        }
        writer.finish(&mut out);
        assert!(signed_delta(old, new, step) == out);
        out
    }

    /// The same, when the signature of the new file is made on the way.
    fn signed_delta(old: &[u8], new: &[u8], step: usize) -> Vec<u8> {
        let (mut out, mut made) = (Vec::new(), Vec::new());
        let mut signer = SignatureWriter::new(512, &mut made);
        let mut writer = DeltaWriter::new(signature(old, 512), &mut out);
        for piece in new.chunks(step) {
            signer.push(piece, &mut made);
            writer.push_signed(piece, &made, &mut out);
        }
        writer.finish(&mut out);
        out
    }

    fn patch(base: &[u8], deltas: &[Vec<u8>]) -> Result<Vec<u8>, BadDelta> {
        let mut literals = Vec::new();
        let mut splice = Splice::new(base.len() as u64, 1 << 30);
        let mut size = 0;
        for delta in deltas {
            size = splice.apply(delta.as_slice(), &mut literals, size)?;
        }
        let mut out = Vec::new();
        for (source, at, length) in splice.pieces() {
            let from = match source {
                Source::Base => base,
                Source::Literals => &literals,
            };
            let at = usize::try_from(at).unwrap();
            out.extend_from_slice(&from[at..at + usize::try_from(length).unwrap()]);
        }
        assert_eq!(out.len() as u64, splice.size());
        Ok(out)
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        testkit::Random::new(seed).noise(length)
    }

    #[test]
    fn every_edit_is_patched_back() {
        let old = noise(1, 20_000);
        let mut edits = vec![
            old.clone(),
            Vec::new(),
            noise(2, 3000),
            old[..700].to_vec(),
            old[1..].to_vec(),
        ];
        edits.push([b"front".as_slice(), &old].concat());
        edits.push([&old[..9999], b"middle", &old[9999..]].concat());
        edits.push([old.as_slice(), b"end"].concat());
        edits.push([&old[10_000..], &old[..10_000]].concat());
        edits.push([old.as_slice(), &old].concat());
        edits.push(vec![0; 5000]);
        for new in &edits {
            for step in [1, 511, 513, 100_000] {
                let delta = delta(&old, new, step);
                assert_eq!(&patch(&old, &[delta]).unwrap(), new);
            }
        }
    }

    #[test]
    fn what_is_the_same_is_not_stored_again() {
        let old = noise(3, 300_001);
        assert!(delta(&old, &old, 65_536).len() < 20);
        let shifted = [b"x".as_slice(), &old].concat();
        assert!(delta(&old, &shifted, 65_536).len() < 30);
        let zeros = vec![0; 100_000];
        assert!(delta(&zeros, &zeros, 65_536).len() < 20);
    }

    #[test]
    fn a_chain_of_deltas_is_one_splice() {
        let mut states = vec![noise(4, 9000)];
        let mut deltas = Vec::new();
        for step in 0..10_usize {
            let old = states.last().unwrap();
            let mut new = [
                &old[..step * 300],
                noise(step as u64, 50).as_slice(),
                &old[step * 310..],
            ]
            .concat();
            new.rotate_left(1234);
            deltas.push(delta(old, &new, 4096));
            states.push(new);
        }
        assert_eq!(&patch(&states[0], &deltas).unwrap(), states.last().unwrap());
    }

    #[test]
    fn a_hostile_delta_is_refused() {
        let head = DELTA_MAGIC.to_be_bytes();
        let with = |commands: &[u8]| patch(b"0123456789", &[[head.as_slice(), commands].concat()]);
        assert!(matches!(
            patch(b"", &[b"nope!".to_vec()]),
            Err(BadDelta::Magic)
        ));
        assert!(matches!(with(&[]), Err(BadDelta::CutOff)));
        assert!(matches!(with(&[0x55]), Err(BadDelta::Command(0x55))));
        assert!(matches!(
            with(&[0x45, 5, 6, 0]),
            Err(BadDelta::Range {
                start: 5,
                length: 6,
                size: 10
            })
        ));
        assert!(matches!(with(&[5, 1]), Err(BadDelta::CutOff)));
        let far = [[0x54].as_slice(), &[0xff; 16], &[0]].concat();
        assert!(matches!(with(&far), Err(BadDelta::Range { .. })));
        let literal = [[0x44].as_slice(), &(1_u64 << 60).to_be_bytes(), b"x", &[0]].concat();
        assert!(matches!(with(&literal), Err(BadDelta::TooLarge)));
        assert_eq!(with(&[0x45, 2, 3, 2, b'a', b'b', 0]).unwrap(), b"234ab");
    }

    #[test]
    fn a_delta_that_repeats_its_way_to_a_giant_is_refused() {
        let mut bomb = DELTA_MAGIC.to_be_bytes().to_vec();
        for _ in 0..1000 {
            bomb.extend_from_slice(&[0x46, 0, 0x27, 0x10]);
        }
        bomb.push(0);
        let mut splice = Splice::new(10_000, 1 << 20);
        let result = splice.apply(bomb.as_slice(), &mut io::sink(), 0);
        assert!(matches!(result, Err(BadDelta::TooLarge)));
    }
}
