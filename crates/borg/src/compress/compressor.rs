//! Compresses one chunk after the other.

use std::io;

use flate2::{Compress, FlushCompress, Status};
use liblzma::stream::{Action, Check, Filters, LzmaOptions, Stream};
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::{Compression, LZ4, LZMA, NONE, OBFUSCATE, Padding, ZSTD};
use crate::{Buffer, Random};

/// Below this share of the plain size lz4's result counts as compressible, in percent.
const AUTO_COMPRESSIBLE_PERCENT: usize = 97;

/// Below this share of lz4's result the expensive method's is worth its time, in percent.
const AUTO_WORTH_PERCENT: usize = 99;

/// Most bytes of an obfuscated payload without its own ten bytes of header.
///
/// Source: measured on stock Borg 1.4.5; with all headers such an object stays below the
/// largest that a repository takes.
const OBFUSCATED_SIZE_MAX: usize = STORED_SIZE_MAX - 1024;

/// `MAX_DATA_SIZE` in Borg 1.4's `constants.py`.
const STORED_SIZE_MAX: usize = 20_971_479;

/// Compresses with one setting; keeps what the methods can use again. One a thread.
pub struct Compressor {
    method: Method,
}

enum Method {
    None,
    Lz4(Lz4Tables),
    Zstd(zstd::bulk::Compressor<'static>),
    Zlib(Compress),
    Lzma {
        level: u8,
    },
    Auto {
        lz4: Lz4Tables,
        expensive: Box<Self>,
        attempt: Buffer,
    },
    Obfuscate {
        padding: Padding,
        random: Box<dyn Random>,
        inner: Box<Self>,
    },
}

/// The tables of lz4: the small one is quicker to set up, and serves small chunks only.
struct Lz4Tables {
    small: CompressTable,
    large: CompressTable,
}

impl Compressor {
    /// Sets up `compression`. `random` gives the lengths of paddings.
    ///
    /// # Errors
    ///
    /// When there is no memory for the method's tables.
    pub fn new(compression: &Compression, random: impl Random + 'static) -> io::Result<Self> {
        let method = Method::new(compression, Box::new(random))?;
        Ok(Self { method })
    }

    /// Adds the compressed form of `plain` to `out`, method bytes in front.
    ///
    /// Never more than 1 % and a kilobyte above the plain size, padding apart.
    ///
    /// # Errors
    ///
    /// When the source of random numbers fails; nothing else can.
    pub fn compress(&mut self, plain: &[u8], out: &mut Buffer) -> io::Result<()> {
        self.method.compress(plain, out)
    }
}

impl Method {
    fn new(compression: &Compression, random: Box<dyn Random>) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4(Lz4Tables::new()),
            Compression::Zstd { level } => {
                Self::Zstd(zstd::bulk::Compressor::new(i32::from(*level))?)
            }
            Compression::Zlib { level } => Self::Zlib(Compress::new(
                flate2::Compression::new(u32::from(*level)),
                true,
            )),
            Compression::Lzma { level } => Self::Lzma { level: *level },
            Compression::Auto(inner) => Self::Auto {
                lz4: Lz4Tables::new(),
                expensive: Box::new(Self::new(inner, random)?),
                attempt: Buffer::new(),
            },
            Compression::Obfuscate { padding, inner } => Self::Obfuscate {
                padding: *padding,
                inner: Box::new(Self::new(inner, Box::new(crate::SystemRandom))?),
                random,
            },
        })
    }

    fn compress(&mut self, plain: &[u8], out: &mut Buffer) -> io::Result<()> {
        match self {
            Self::None => store(plain, out),
            Self::Lz4(tables) => {
                if !tables.compress(plain, out) {
                    store(plain, out);
                }
            }
            Self::Zstd(compressor) => {
                if !compress_zstd(compressor, plain, out) {
                    store(plain, out);
                }
            }
            Self::Zlib(compressor) => compress_zlib(compressor, plain, out),
            Self::Lzma { level } => {
                if !compress_lzma(*level, plain, out) {
                    store(plain, out);
                }
            }
            Self::Auto {
                lz4,
                expensive,
                attempt,
            } => {
                let start = out.len();
                if !lz4.compress(plain, out) {
                    store(plain, out);
                    return Ok(());
                }
                let cheap = out.len() - start;
                if cheap * 100 >= plain.len() * AUTO_COMPRESSIBLE_PERCENT {
                    return Ok(());
                }
                attempt.clear();
                expensive.compress(plain, attempt)?;
                if attempt.len() * 100 < cheap * AUTO_WORTH_PERCENT {
                    out.truncate(start);
                    out.extend_from_slice(attempt);
                }
            }
            Self::Obfuscate {
                padding,
                random,
                inner,
            } => {
                let start = out.len();
                out.extend_from_slice(&OBFUSCATE);
                // The length is known only afterwards.
                out.extend_from_slice(&[0; 4]);
                inner.compress(plain, out)?;
                let size = out.len() - start - OBFUSCATE.len() - 4;
                if let Some(length) = out.get_mut(start + 2..start + 6) {
                    length.copy_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
                }
                let mut chance = [0; 8];
                random.fill(&mut chance)?;
                let most = OBFUSCATED_SIZE_MAX.saturating_sub(size);
                let length = padding.length(size, u64::from_le_bytes(chance)).min(most);
                out.room(length).fill(0);
                out.advance(length);
            }
        }
        Ok(())
    }
}

impl Lz4Tables {
    fn new() -> Self {
        Self {
            small: CompressTable::small(),
            large: CompressTable::large(),
        }
    }

    /// Gives false, and leaves `out` as it was, when nothing would be gained.
    fn compress(&mut self, plain: &[u8], out: &mut Buffer) -> bool {
        let table = if plain.len() < usize::from(u16::MAX) {
            &mut self.small
        } else {
            &mut self.large
        };
        attempt(
            LZ4,
            plain,
            get_maximum_output_size(plain.len()),
            out,
            |room| compress_into_with_table(plain, room, table).ok(),
        )
    }
}

fn store(plain: &[u8], out: &mut Buffer) {
    out.extend_from_slice(&NONE);
    out.extend_from_slice(plain);
}

/// Lets `compress` fill a room of `bound` bytes behind `id`; true when it became smaller.
fn attempt(
    id: [u8; 2],
    plain: &[u8],
    bound: usize,
    out: &mut Buffer,
    compress: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> bool {
    let start = out.len();
    out.extend_from_slice(&id);
    match compress(out.room(bound)) {
        Some(size) if size < plain.len() => {
            out.advance(size);
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

fn compress_zstd(
    compressor: &mut zstd::bulk::Compressor<'static>,
    plain: &[u8],
    out: &mut Buffer,
) -> bool {
    let bound = zstd::zstd_safe::compress_bound(plain.len());
    attempt(ZSTD, plain, bound, out, |room| {
        compressor.compress_to_buffer(plain, room).ok()
    })
}

/// The stream's own first bytes are its method bytes. Borg keeps it even if it is larger.
fn compress_zlib(compressor: &mut Compress, plain: &[u8], out: &mut Buffer) {
    compressor.reset();
    let mut room = plain.len() / 2 + 1024;
    loop {
        let read = usize::try_from(compressor.total_in()).unwrap_or(usize::MAX);
        let written = compressor.total_out();
        let rest = plain.get(read..).unwrap_or_default();
        let status = compressor.compress(rest, out.room(room), FlushCompress::Finish);
        out.advance(usize::try_from(compressor.total_out() - written).unwrap_or(0));
        match status {
            Ok(Status::Ok | Status::BufError) => room = rest.len() / 2 + 1024,
            // Compression itself has no way to fail.
            Ok(Status::StreamEnd) | Err(_) => return,
        }
    }
}

fn compress_lzma(level: u8, plain: &[u8], out: &mut Buffer) -> bool {
    // The result is kept only if it is smaller, so room for that is enough.
    attempt(LZMA, plain, plain.len(), out, |room| {
        let mut options = LzmaOptions::new_preset(u32::from(level)).ok()?;
        // A dictionary larger than the chunk would cost memory on both sides and gain nothing.
        let usual = LZMA_DICTIONARY_SIZE.get(usize::from(level)).copied()?;
        let chunk = u32::try_from(plain.len()).ok()?.next_power_of_two();
        options.dict_size(chunk.clamp(LZMA_DICTIONARY_SIZE_MIN, usual));
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let mut stream = Stream::new_stream_encoder(&filters, Check::None).ok()?;
        let status = stream.process(plain, room, Action::Finish).ok()?;
        let size = usize::try_from(stream.total_out()).ok()?;
        (status == liblzma::stream::Status::StreamEnd).then_some(size)
    })
}

/// Smallest dictionary that lzma has (`LZMA_DICT_SIZE_MIN`).
const LZMA_DICTIONARY_SIZE_MIN: u32 = 4096;

/// Dictionary of each preset. Source: the manual page `xz(1)`, `DictSize`.
const LZMA_DICTIONARY_SIZE: [u32; 10] = [
    256 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
    4 << 20,
    8 << 20,
    8 << 20,
    16 << 20,
    32 << 20,
    64 << 20,
];

impl Padding {
    /// Bytes of padding behind a payload of `size` bytes. `chance` is any number.
    fn length(self, size: usize, chance: u64) -> usize {
        // 53 bits are what a float holds: from 0 up to, but not reaching, 1.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let chance = (chance >> 11) as f64 / (1u64 << 53) as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a float saturates, and sizes are far below 2^53"
        )]
        match self {
            Self::Relative(spec) => {
                let share = 0.001 * 10f64.powi(i32::from(spec));
                (share / chance.max(0.0001) * size as f64) as usize
            }
            Self::Absolute(spec) => {
                let most = 1u64 << spec.saturating_sub(100).min(23);
                (most as f64 * chance) as usize
            }
            Self::Padme => padme(size) - size,
        }
    }
}

/// The next length that the Padmé scheme allows: as many significant bits as its exponent has.
///
/// Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication
/// with PURBs", section 4.
fn padme(size: usize) -> usize {
    let Some(exponent) = size.checked_ilog2().filter(|&exponent| exponent > 0) else {
        return size;
    };
    let significant = exponent.ilog2() + 1;
    size.next_multiple_of(1 << exponent.saturating_sub(significant))
}
