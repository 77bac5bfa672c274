//! Decompresses one stored payload after the other, from whoever wrote it.
//!
//! Every method writes into a slice of bounded size: whatever a payload claims, no more than
//! [`PLAIN_SIZE_MAX`] bytes come out, and memory grows with what really comes.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use liblzma::stream::{Action, Stream};
use lz4_flex::block::{DecompressError, decompress_into};

use super::{LZ4, LZMA, NONE, OBFUSCATE, PLAIN_SIZE_MAX, ZSTD, is_zlib};
use crate::Buffer;

/// First guess at the plain size where none is recorded.
const ROOM_MIN: usize = 64 * 1024;

/// Most memory that reading an xz container may take: what its highest preset needs.
const LZMA_MEMORY_MAX: u64 = 80 << 20;

/// Why a payload cannot be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// No room for the two bytes that name the method.
    #[error("a payload of {bytes} bytes is too short")]
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// Compressed in a way that Borg 1.x does not know.
    #[error("unknown compression {id:02x?}")]
    Method {
        /// The two bytes that name it.
        id: [u8; 2],
    },
    /// The payload is not what its method writes.
    #[error("damaged {method} data")]
    Damaged {
        /// The method.
        method: &'static str,
    },
    /// A zstd frame must record its plain size.
    #[error("zstd data of unknown original size")]
    UnknownSize,
    /// More would come out than any object holds.
    #[error("more than {PLAIN_SIZE_MAX} bytes when decompressed")]
    TooLarge,
}

/// Decompresses any payload; keeps what the methods can use again. One a thread.
pub struct Decompressor {
    zstd: zstd::bulk::Decompressor<'static>,
    zlib: Decompress,
}

impl Decompressor {
    /// Sets up every method.
    ///
    /// # Errors
    ///
    /// When there is no memory for their tables.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Decompressor::new()?,
            zlib: Decompress::new(true),
        })
    }

    /// Adds the plain bytes of `payload` to `out`.
    ///
    /// `size_hint` is the plain size, if it is known: a right one saves work, a wrong one does
    /// no harm.
    ///
    /// # Errors
    ///
    /// [`BadPayload`] says what is wrong; `out` is as it was.
    pub fn decompress(
        &mut self,
        payload: &[u8],
        size_hint: Option<usize>,
        out: &mut Buffer,
    ) -> Result<(), BadPayload> {
        let start = out.len();
        let result = self.decompress_any(payload, size_hint, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn decompress_any(
        &mut self,
        mut payload: &[u8],
        size_hint: Option<usize>,
        out: &mut Buffer,
    ) -> Result<(), BadPayload> {
        loop {
            let short = BadPayload::Short {
                bytes: payload.len(),
            };
            let (&id, body) = payload.split_first_chunk().ok_or(short)?;
            return match id {
                NONE if body.len() > PLAIN_SIZE_MAX => Err(BadPayload::TooLarge),
                NONE => {
                    out.extend_from_slice(body);
                    Ok(())
                }
                LZ4 => decompress_lz4(body, size_hint, out),
                LZMA => decompress_lzma(body, size_hint, out),
                ZSTD => self.decompress_zstd(body, out),
                OBFUSCATE => {
                    payload = unpad(body).ok_or(BadPayload::Damaged {
                        method: "obfuscated",
                    })?;
                    continue;
                }
                id if is_zlib(id) => self.decompress_zlib(payload, size_hint, out),
                id => Err(BadPayload::Method { id }),
            };
        }
    }

    fn decompress_zstd(&mut self, body: &[u8], out: &mut Buffer) -> Result<(), BadPayload> {
        let damaged = BadPayload::Damaged { method: "zstd" };
        let size = zstd::zstd_safe::get_frame_content_size(body).map_err(|_| damaged)?;
        let size = size.ok_or(BadPayload::UnknownSize)?;
        let size = bounded(size)?;
        // The whole result is the window, so a frame that asks for a huge one gets none.
        let written = self
            .zstd
            .decompress_to_buffer(body, out.room(size))
            .map_err(|_| damaged)?;
        if written != size {
            return Err(damaged);
        }
        out.advance(size);
        Ok(())
    }

    fn decompress_zlib(
        &mut self,
        stream: &[u8],
        size_hint: Option<usize>,
        out: &mut Buffer,
    ) -> Result<(), BadPayload> {
        let damaged = BadPayload::Damaged { method: "zlib" };
        let zlib = &mut self.zlib;
        zlib.reset(true);
        in_rooms(stream.len(), size_hint, out, |room| {
            let read = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
            let before = (zlib.total_in(), zlib.total_out());
            let rest = stream.get(read..).unwrap_or_default();
            let status = zlib
                .decompress(rest, room, FlushDecompress::Finish)
                .map_err(|_| damaged)?;
            let written = usize::try_from(zlib.total_out() - before.1).unwrap_or(usize::MAX);
            match status {
                Status::StreamEnd => Ok((written, true)),
                // Neither read nor written though there was room: the end is missing.
                _ if (zlib.total_in(), zlib.total_out()) == before => Err(damaged),
                _ if written < room.len() && zlib.total_in() == stream.len() as u64 => Err(damaged),
                _ => Ok((written, false)),
            }
        })
    }
}

/// The inner payload of an obfuscated one.
fn unpad(body: &[u8]) -> Option<&[u8]> {
    let (length, padded) = body.split_first_chunk()?;
    padded.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// A block does not say how large it becomes, and cannot be continued in a larger room.
fn decompress_lz4(
    body: &[u8],
    size_hint: Option<usize>,
    out: &mut Buffer,
) -> Result<(), BadPayload> {
    let free = out.capacity() - out.len();
    let mut size = size_hint.unwrap_or_else(|| free.max(body.len().saturating_mul(4)));
    size = size.clamp(ROOM_MIN, PLAIN_SIZE_MAX);
    loop {
        match decompress_into(body, out.room(size)) {
            Ok(written) => {
                out.advance(written);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if size < PLAIN_SIZE_MAX => {
                size = size.saturating_mul(4).min(PLAIN_SIZE_MAX);
            }
            Err(DecompressError::OutputTooSmall { .. }) => return Err(BadPayload::TooLarge),
            Err(_) => return Err(BadPayload::Damaged { method: "lz4" }),
        }
    }
}

fn decompress_lzma(
    body: &[u8],
    size_hint: Option<usize>,
    out: &mut Buffer,
) -> Result<(), BadPayload> {
    let damaged = BadPayload::Damaged { method: "lzma" };
    let mut stream = Stream::new_auto_decoder(LZMA_MEMORY_MAX, 0).map_err(|_| damaged)?;
    in_rooms(body.len(), size_hint, out, |room| {
        let read = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let before = (stream.total_in(), stream.total_out());
        let rest = body.get(read..).unwrap_or_default();
        let status = stream
            .process(rest, room, Action::Run)
            .map_err(|_| damaged)?;
        let written = usize::try_from(stream.total_out() - before.1).unwrap_or(usize::MAX);
        match status {
            liblzma::stream::Status::StreamEnd => Ok((written, true)),
            _ if (stream.total_in(), stream.total_out()) == before => Err(damaged),
            _ if written < room.len() && stream.total_in() == body.len() as u64 => Err(damaged),
            _ => Ok((written, false)),
        }
    })
}

/// Gives one room after the other to a method that can go on in the next, until it says that
/// it is done: `step` gives the bytes it wrote and whether those were the last.
fn in_rooms(
    compressed_size: usize,
    size_hint: Option<usize>,
    out: &mut Buffer,
    mut step: impl FnMut(&mut [u8]) -> Result<(usize, bool), BadPayload>,
) -> Result<(), BadPayload> {
    let start = out.len();
    let mut size = size_hint.unwrap_or_else(|| compressed_size.saturating_mul(2));
    loop {
        let left = PLAIN_SIZE_MAX - (out.len() - start);
        // One byte more than allowed is room enough to see that there is more.
        let room = size.clamp(ROOM_MIN, PLAIN_SIZE_MAX).min(left + 1);
        let (written, done) = step(out.room(room))?;
        out.advance(written);
        if out.len() - start > PLAIN_SIZE_MAX {
            return Err(BadPayload::TooLarge);
        }
        if done {
            return Ok(());
        }
        size = out.len() - start;
    }
}

fn bounded(size: u64) -> Result<usize, BadPayload> {
    usize::try_from(size)
        .ok()
        .filter(|&size| size <= PLAIN_SIZE_MAX)
        .ok_or(BadPayload::TooLarge)
}
