//! The plain bytes of a deflate stream, made by several threads where the stream allows.
//!
//! The volumes that are written here are stretches that do not refer to each other, each ended by an
//! empty stored block: see [`crate::volume`]. Nothing lists them, but the four bytes that end one are
//! rare in compressed data. So the stream is cut behind them, and each stretch is decoded on its own, as
//! a whole buffer, by whichever thread is free. One that cannot be decoded so ends this for the whole
//! stream: it was written by another program, or those four bytes were data. From there on one thread
//! decodes it, as it must be done without knowing more.
//!
//! Whether a cut was right, the stretch itself tells: behind it a last block with known bytes is put.
//! Only a decoder that comes to that block at its border gives these bytes at the end.
//!
//! Memory: each thread has one stretch, and one more waits; 512 KiB each at most.
//!
//! Format: RFC 1951.

use std::collections::VecDeque;
use std::io::{self, BufRead, Chain, Cursor, Read};
use std::thread;

use bstr::ByteSlice;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::Decompressor;

use crate::blocks::Blocks;
use crate::read_ahead::BLOCK;
use crate::volume::PIECE_SIZE;

/// What an empty stored block ends with, behind the bits that say that it is one.
const BORDER: [u8; 4] = [0, 0, 0xff, 0xff];

/// What a stored block begins with that is not the last one and stands at a byte border: these bits,
/// its length, and the length inverted.
const STORED: u8 = 0;
const STORED_HEAD: usize = 5;

/// A last block of sixteen stored bytes that nobody else would write.
const SEAL: [u8; 21] =
    *b"\x01\x10\x00\xef\xff\xd6\x1f\x9b\x42\x07\xe3\x5a\xc8\x71\xbe\x2d\x94\x66\xf8\x13\xa9";
const SEAL_PLAIN: usize = SEAL.len() - STORED_HEAD;

/// Most that a stretch makes.
const PLAIN_MAX: usize = PIECE_SIZE + SEAL_PLAIN;

/// How far back deflate refers.
const WINDOW: usize = 32 << 10;

/// A deflate stream that is decoded.
#[derive(Debug)]
pub(crate) struct Inflate<R> {
    source: Source<R>,
}

#[derive(Debug)]
enum Source<R> {
    Stretches(Box<Stretches<R>>),
    Stream(Box<Stream<R>>),
    /// An error came.
    Broken,
}

impl<R: BufRead> Inflate<R> {
    /// `input` begins with the first block.
    pub(crate) fn new(input: R) -> Self {
        Self::resume(Vec::new(), input)
    }

    /// `read` was read of the input already.
    pub(crate) fn resume(read: Vec<u8>, input: R) -> Self {
        let mut stretches = Stretches::new(input);
        stretches.read = read;
        Self {
            source: Source::Stretches(Box::new(stretches)),
        }
    }

    /// What follows the stream; `None` before its end.
    pub(crate) fn behind(&mut self) -> Option<&mut impl BufRead> {
        match &mut self.source {
            Source::Stream(stream) if stream.ended => Some(&mut stream.input),
            _ => None,
        }
    }

    /// What follows the stream: bytes of the input that were read, and the rest of it; `None` before
    /// its end.
    pub(crate) fn into_behind(self) -> Option<(Vec<u8>, R)> {
        match self.source {
            Source::Stream(stream) if stream.ended => {
                let (read, input) = stream.input.into_inner();
                let at = usize::try_from(read.position()).ok()?;
                Some((read.into_inner().split_off(at), input))
            }
            _ => None,
        }
    }
}

impl<R: BufRead> Blocks for Inflate<R> {
    fn next_block(&mut self, used: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>> {
        match std::mem::replace(&mut self.source, Source::Broken) {
            Source::Stretches(mut stretches) => {
                if used.capacity() >= PLAIN_MAX {
                    stretches.rooms.push(used);
                }
                if let Some(block) = stretches.next()? {
                    self.source = Source::Stretches(stretches);
                    return Ok(Some(block));
                }
                self.source = Source::Stream(Box::new(stretches.into_stream()?));
                Ok(Some(Cursor::default()))
            }
            Source::Stream(mut stream) => {
                let block = stream.next()?;
                self.source = Source::Stream(stream);
                Ok(block)
            }
            Source::Broken => Err(io::Error::other("the stream is broken")),
        }
    }
}

/// A stretch that was cut off.
#[derive(Debug)]
enum Stretch {
    /// One stored block, with its head.
    Stored(Vec<u8>),
    Deflated(Vec<u8>),
}

/// What became of a stretch.
struct Opened {
    deflated: Vec<u8>,
    /// `None` when it does not stand alone.
    plain: Option<Vec<u8>>,
}

/// A stretch on its way through the threads.
#[derive(Debug)]
enum Coming {
    Stored(Vec<u8>),
    Deflated(Receiver<Opened>),
}

struct Job {
    deflated: Vec<u8>,
    /// For the plain bytes.
    room: Vec<u8>,
    reply: Sender<Opened>,
}

#[derive(Debug)]
struct Stretches<R> {
    input: R,
    /// Bytes of the input that are not cut yet, from `start`.
    read: Vec<u8>,
    start: usize,
    coming: VecDeque<Coming>,
    /// No more stretches are cut: an error came, or what follows is none.
    is_cut: bool,
    failure: Option<io::Error>,
    /// What did not stand alone.
    rest: Vec<u8>,
    /// The last plain bytes: what follows may refer to them.
    window: Vec<u8>,
    rooms: Vec<Vec<u8>>,
    jobs: Sender<Job>,
    queue: Receiver<Job>,
    /// Threads that may still be started, and all of them.
    spare: usize,
    threads: usize,
}

impl<R: BufRead> Stretches<R> {
    fn new(input: R) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (jobs, queue) = unbounded();
        Self {
            input,
            read: Vec::new(),
            start: 0,
            coming: VecDeque::new(),
            is_cut: false,
            failure: None,
            rest: Vec::new(),
            window: Vec::new(),
            rooms: Vec::new(),
            jobs,
            queue,
            spare: threads,
            threads,
        }
    }

    /// The next plain bytes; `None` when the rest has to be decoded as a stream.
    fn next(&mut self) -> io::Result<Option<Cursor<Vec<u8>>>> {
        while !self.is_cut && self.coming.len() <= self.threads {
            match self.cut() {
                Ok(Some(stretch)) => self.order(stretch)?,
                Ok(None) => self.is_cut = true,
                Err(error) => {
                    self.is_cut = true;
                    self.failure = Some(error);
                }
            }
        }
        let mut block = match self.coming.pop_front() {
            None => return self.failure.take().map_or(Ok(None), Err),
            Some(Coming::Stored(stored)) => {
                let mut block = Cursor::new(stored);
                block.consume(STORED_HEAD);
                block
            }
            Some(Coming::Deflated(opened)) => {
                let Opened { deflated, plain } = opened.recv().map_err(broken)?;
                match plain {
                    Some(plain) => Cursor::new(plain),
                    None => {
                        self.rest = deflated;
                        return self.failure.take().map_or(Ok(None), Err);
                    }
                }
            }
        };
        self.remember(block.fill_buf()?);
        Ok(Some(block))
    }

    /// The next stretch; `None` if what follows is none.
    fn cut(&mut self) -> io::Result<Option<Stretch>> {
        let mut searched = 0;
        loop {
            let ahead = self.read.get(self.start..).unwrap_or_default();
            let is_stored = ahead.first() == Some(&STORED);
            let end = match is_stored {
                true => stored_end(ahead),
                false => {
                    let new = ahead.get(searched..).unwrap_or_default();
                    let found = new.find(BORDER);
                    found.map(|at| searched + at + BORDER.len())
                }
            };
            if let Some(stretch) = end.and_then(|end| ahead.get(..end)) {
                let mut bytes = Vec::with_capacity(stretch.len() + SEAL.len());
                bytes.extend_from_slice(stretch);
                self.start += bytes.len();
                return Ok(Some(match is_stored {
                    true => Stretch::Stored(bytes),
                    false => Stretch::Deflated(bytes),
                }));
            }
            // The border may be half read.
            searched = ahead.len().saturating_sub(BORDER.len() - 1);
            if searched > PIECE_SIZE || !self.read_more()? {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self) -> io::Result<bool> {
        self.read.drain(..self.start);
        self.start = 0;
        let bytes = self.input.fill_buf()?;
        let count = bytes.len();
        self.read.extend_from_slice(bytes);
        self.input.consume(count);
        Ok(count > 0)
    }

    fn order(&mut self, stretch: Stretch) -> io::Result<()> {
        let deflated = match stretch {
            Stretch::Stored(stored) => {
                self.coming.push_back(Coming::Stored(stored));
                return Ok(());
            }
            Stretch::Deflated(deflated) => deflated,
        };
        if self.spare > 0 {
            self.spare -= 1;
            let queue = self.queue.clone();
            thread::spawn(move || open_all(&queue));
        }
        let (reply, opened) = bounded(1);
        let room = self.rooms.pop().unwrap_or_default();
        let job = Job {
            deflated,
            room,
            reply,
        };
        self.jobs.send(job).map_err(broken)?;
        self.coming.push_back(Coming::Deflated(opened));
        Ok(())
    }

    fn remember(&mut self, plain: &[u8]) {
        let new = plain.get(plain.len().saturating_sub(WINDOW)..);
        let new = new.unwrap_or_default();
        let surplus = (self.window.len() + new.len()).saturating_sub(WINDOW);
        self.window.drain(..surplus);
        self.window.extend_from_slice(new);
    }

    /// All that was not decoded yet, as a stream.
    fn into_stream(mut self) -> io::Result<Stream<R>> {
        let mut rest = std::mem::take(&mut self.rest);
        for coming in self.coming {
            rest.extend_from_slice(&match coming {
                Coming::Stored(stored) => stored,
                Coming::Deflated(opened) => opened.recv().map_err(broken)?.deflated,
            });
        }
        rest.extend_from_slice(self.read.get(self.start..).unwrap_or_default());
        Stream::new(&self.window, Cursor::new(rest).chain(self.input))
    }
}

/// Where the stored block ends that `bytes` begin with.
fn stored_end(bytes: &[u8]) -> Option<usize> {
    let length = u16::from_le_bytes(*bytes.get(1..)?.first_chunk()?);
    let inverted = u16::from_le_bytes(*bytes.get(3..)?.first_chunk()?);
    (length == !inverted).then_some(STORED_HEAD + usize::from(length))
}

/// Decodes stretches until none can come any more.
fn open_all(queue: &Receiver<Job>) {
    let mut decompressor = Decompressor::new();
    for Job {
        mut deflated,
        room,
        reply,
    } in queue
    {
        let plain = open(&mut decompressor, &mut deflated, room);
        // Whoever asked may have been given up.
        let _ = reply.send(Opened { deflated, plain });
    }
}

/// The plain bytes of a stretch; `None` when it does not stand alone.
fn open(
    decompressor: &mut Decompressor,
    deflated: &mut Vec<u8>,
    mut plain: Vec<u8>,
) -> Option<Vec<u8>> {
    let size = deflated.len();
    deflated.extend_from_slice(&SEAL);
    plain.resize(PLAIN_MAX, 0);
    let opened = decompressor.deflate_decompress(deflated, &mut plain);
    deflated.truncate(size);
    plain.truncate(opened.ok()?);
    let content = plain.len().checked_sub(SEAL_PLAIN)?;
    let is_whole = plain.get(content..) == SEAL.get(STORED_HEAD..);
    plain.truncate(content);
    is_whole.then_some(plain)
}

/// What can only be decoded from its beginning to its end.
struct Stream<R> {
    decompress: Decompress,
    input: Chain<Cursor<Vec<u8>>, R>,
    ended: bool,
}

impl<R: BufRead> Stream<R> {
    /// `window` came before what `input` gives.
    fn new(window: &[u8], input: Chain<Cursor<Vec<u8>>, R>) -> io::Result<Self> {
        let mut decompress = Decompress::new(false);
        // The decoder knows what it made itself: it makes the window, of a stored block.
        let mut made = Vec::with_capacity(window.len() + 1);
        for block in crate::volume::stored(window).chunks(WINDOW) {
            decompress.decompress_vec(block, &mut made, FlushDecompress::None)?;
        }
        if made != window {
            return Err(io::Error::other("a decoder does not take what came before"));
        }
        Ok(Self {
            decompress,
            input,
            ended: false,
        })
    }

    fn next(&mut self) -> io::Result<Option<Cursor<Vec<u8>>>> {
        let mut block = Vec::with_capacity(BLOCK);
        while !self.ended && block.len() < BLOCK {
            let bytes = self.input.fill_buf()?;
            let is_over = bytes.is_empty();
            let (read, made) = (self.decompress.total_in(), block.len());
            let status =
                self.decompress
                    .decompress_vec(bytes, &mut block, FlushDecompress::None)?;
            let read = usize::try_from(self.decompress.total_in() - read);
            self.input.consume(read.map_err(io::Error::other)?);
            match status {
                Status::StreamEnd => self.ended = true,
                // The end did not come.
                _ if is_over && block.len() == made => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => {}
            }
        }
        Ok((!block.is_empty()).then(|| Cursor::new(block)))
    }
}

impl<R> std::fmt::Debug for Stream<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

fn broken<E>(_: E) -> io::Error {
    io::Error::other("the thread that decodes broke down")
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use testkit::Random;

    use super::*;
    use crate::blocks::BlockReader;
    use crate::volume::{Deflater, END, stored};

    fn inflate(stream: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        // In pieces of an odd size, so that nothing depends on where they begin.
        let input = io::BufReader::with_capacity(7777, Cursor::new(stream.to_vec()));
        BlockReader::new(Inflate::new(input)).read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// Bytes that compress, with what ends a stretch among them.
    fn text(random: &mut Random, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            match random.below(6) {
                0 => bytes.extend_from_slice(&BORDER),
                1 => bytes.extend_from_slice(&random.noise(40)),
                2 if bytes.len() > 5000 => bytes.extend_from_within(..4000),
                _ => bytes.extend_from_slice(b"several independent layers "),
            }
        }
        bytes.truncate(size);
        bytes
    }

    #[test]
    fn stretches_of_our_own_are_decoded() {
        let mut random = Random::new(11);
        let mut deflater = Deflater::new();
        let (mut stream, mut plain) = (stored(b"head"), b"head".to_vec());
        for round in 0..40 {
            let size = [PIECE_SIZE, 1, 70_000, 0][round % 4];
            let piece = match round % 3 {
                0 => random.noise(size),
                _ => text(&mut random, size),
            };
            stream.extend(deflater.piece(&piece));
            plain.extend(piece);
        }
        stream.extend_from_slice(&END);
        stream.extend_from_slice(b"behind");
        assert!(inflate(&stream).unwrap() == plain);
        let mut inflate = Inflate::new(stream.as_slice());
        assert!(inflate.behind().is_none());
        while inflate.next_block(Vec::new()).unwrap().is_some() {}
        let mut behind = String::new();
        let rest = inflate.behind().unwrap();
        rest.read_to_string(&mut behind).unwrap();
        assert_eq!(behind, "behind");
    }

    /// Other programs flush where they like and refer back over it; or they store.
    #[test]
    fn streams_of_others_are_decoded() {
        let mut random = Random::new(12);
        for round in 0..60 {
            let mut deflater = Deflater::new();
            let (mut stream, mut plain) = (Vec::new(), Vec::new());
            for _ in 0..random.below(4) {
                let piece = text(&mut random, 50_000);
                stream.extend(deflater.piece(&piece));
                plain.extend(piece);
            }
            let level = Compression::new(round % 10);
            let mut compress = Compress::new(level, false);
            for _ in 0..6 {
                let size = usize::try_from(random.below(400_000)).unwrap();
                let piece = text(&mut random, size);
                let mut out = Vec::with_capacity(2 * piece.len() + 1000);
                compress
                    .compress_vec(&piece, &mut out, FlushCompress::Sync)
                    .unwrap();
                stream.extend(out);
                plain.extend(piece);
            }
            let mut out = Vec::with_capacity(1000);
            compress
                .compress_vec(&[], &mut out, FlushCompress::Finish)
                .unwrap();
            stream.extend(out);
            assert!(inflate(&stream).unwrap() == plain, "round {round}");
        }
    }

    /// A stretch whose data look like a border, and more stretches behind it.
    #[test]
    fn a_border_among_the_data_is_none() {
        let mut compress = Compress::new(Compression::none(), false);
        let mut plain = [BORDER.as_slice(), b"data"].concat().repeat(30_000);
        let mut out = Vec::with_capacity(2 * plain.len());
        compress
            .compress_vec(&plain, &mut out, FlushCompress::Sync)
            .unwrap();
        // Bits that a stored block does not use may be anything.
        out[0] |= 0b1010_1000;
        let mut stream = out;
        let more = text(&mut Random::new(13), 100_000);
        stream.extend(Deflater::new().piece(&more));
        stream.extend_from_slice(&END);
        plain.extend(more);
        assert!(inflate(&stream).unwrap() == plain);
    }

    #[test]
    fn a_stream_that_breaks_off_is_an_error() {
        let mut random = Random::new(14);
        let plain = text(&mut random, 3 * PIECE_SIZE);
        let mut deflater = Deflater::new();
        let mut stream: Vec<u8> = plain
            .chunks(PIECE_SIZE)
            .flat_map(|piece| deflater.piece(piece))
            .collect();
        stream.extend_from_slice(&END);
        for _ in 0..200 {
            let end = usize::try_from(random.below(stream.len() as u64)).unwrap();
            inflate(&stream[..end]).unwrap_err();
            let mut changed = stream.clone();
            changed[end] ^= 1 << random.below(8);
            // Not every bit counts.
            if let Ok(made) = inflate(&changed) {
                assert!(made.len() < 2 * plain.len() + PIECE_SIZE, "{end}");
            }
        }
    }
}
