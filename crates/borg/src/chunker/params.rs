//! The text form and the stored form of chunker settings.

use std::fmt;
use std::str::FromStr;

use crate::msgpack::{Malformed, Reader, Writer};

/// How files are cut into chunks, as `--chunker-params` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkerParams {
    /// Where the content says so: what was inserted or removed changes few chunks.
    /// `buzhash,MIN,MAX,BITS,WINDOW`.
    Buzhash {
        /// No chunk has fewer than two to this power bytes, but for the last one of a file.
        min_exponent: u8,
        /// No chunk has more than two to this power bytes.
        max_exponent: u8,
        /// A cut is made where so many bits of the hash are zero: every two to this power
        /// bytes, on average, behind the minimum.
        mask_bits: u8,
        /// Bytes that the hash covers. Odd.
        window: u32,
    },
    /// Every so many bytes: for disk images and databases. `fixed,BLOCK[,HEADER]`.
    Fixed {
        /// Bytes of a chunk.
        block_size: u32,
        /// Bytes in front of the first block, cut apart from it. 0 for none.
        header_size: u32,
    },
}

/// Why a text or a stored value is no setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad chunker parameters: {0}")]
pub struct BadChunkerParams(&'static str);

/// Smallest block, and smallest minimum as an exponent: below that the list of chunks would be
/// larger than the content.
const BLOCK_SIZE_MIN: u32 = 64;

/// Largest block: what one stored object can hold (`MAX_DATA_SIZE` in Borg 1.4's
/// `constants.py`).
const BLOCK_SIZE_MAX: u32 = 20_971_479;

/// Largest exponent of the maximum: 8 MiB.
const EXPONENT_MAX: u8 = 23;

impl ChunkerParams {
    /// Borg's default: 512 KiB to 8 MiB, 2 MiB on average.
    pub const DEFAULT: Self = Self::Buzhash {
        min_exponent: 19,
        max_exponent: 23,
        mask_bits: 21,
        window: 4095,
    };

    /// What the stream of items is always cut with: 32 KiB to 512 KiB.
    pub const ITEMS: Self = Self::Buzhash {
        min_exponent: 15,
        max_exponent: 19,
        mask_bits: 17,
        window: 4095,
    };

    /// Bytes of the largest chunk.
    #[must_use]
    pub fn chunk_size_max(self) -> usize {
        match self {
            Self::Buzhash { max_exponent, .. } => 1 << max_exponent,
            Self::Fixed { block_size, .. } => block_size as usize,
        }
    }

    fn buzhash(numbers: [u32; 4]) -> Result<Self, BadChunkerParams> {
        let [min, max, bits, window] = numbers;
        let exponent = |number| {
            u8::try_from(number)
                .ok()
                .filter(|&exponent| exponent <= EXPONENT_MAX)
                .ok_or(BadChunkerParams("no exponent may exceed 23 (8 MiB)"))
        };
        let (min_exponent, max_exponent) = (exponent(min)?, exponent(max)?);
        let mask_bits = exponent(bits)?;
        if !(min_exponent <= mask_bits && mask_bits <= max_exponent) {
            return Err(BadChunkerParams(
                "the minimum, the mask and the maximum must ascend",
            ));
        }
        if 1 << min_exponent < BLOCK_SIZE_MIN {
            return Err(BadChunkerParams("the minimum must be 6 (64 bytes) or more"));
        }
        if window % 2 == 0 {
            return Err(BadChunkerParams("the window must be odd"));
        }
        if (1u32 << min_exponent)
            .checked_add(window)
            .is_none_or(|needed| needed >= 1 << max_exponent)
        {
            return Err(BadChunkerParams(
                "the maximum must have room for the minimum and the window",
            ));
        }
        Ok(Self::Buzhash {
            min_exponent,
            max_exponent,
            mask_bits,
            window,
        })
    }

    fn fixed(block_size: u32, header_size: u32) -> Result<Self, BadChunkerParams> {
        if block_size < BLOCK_SIZE_MIN {
            return Err(BadChunkerParams("a block must have 64 bytes or more"));
        }
        if block_size.max(header_size) > BLOCK_SIZE_MAX {
            return Err(BadChunkerParams(
                "a block or header must not exceed 20971479 bytes",
            ));
        }
        Ok(Self::Fixed {
            block_size,
            header_size,
        })
    }

    /// Reads the form that an archive holds. Archives of Borg 1.0 and 1.1 lack the name.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let start = reader.clone();
        let bad = |_| start.unexpected("chunker parameters");
        let length = reader.array()?;
        if length == 4 {
            return Self::buzhash(numbers(reader)?).map_err(bad);
        }
        match (reader.raw()?, length) {
            (b"buzhash", 5) => Self::buzhash(numbers(reader)?).map_err(bad),
            (b"fixed", 3) => {
                let [block_size, header_size] = numbers(reader)?;
                Self::fixed(block_size, header_size).map_err(bad)
            }
            _ => Err(start.unexpected("chunker parameters")),
        }
    }

    /// Writes the form that an archive holds.
    pub(crate) fn write(self, w: &mut Writer<'_>) {
        match self {
            Self::Buzhash {
                min_exponent,
                max_exponent,
                mask_bits,
                window,
            } => {
                w.array(5);
                w.raw("buzhash");
                w.unsigned(u64::from(min_exponent));
                w.unsigned(u64::from(max_exponent));
                w.unsigned(u64::from(mask_bits));
                w.unsigned(u64::from(window));
            }
            Self::Fixed {
                block_size,
                header_size,
            } => {
                w.array(3);
                w.raw("fixed");
                w.unsigned(u64::from(block_size));
                w.unsigned(u64::from(header_size));
            }
        }
    }
}

fn numbers<const N: usize>(reader: &mut Reader<'_>) -> Result<[u32; N], Malformed> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = reader.unsigned_32()?;
    }
    Ok(numbers)
}

impl Default for ChunkerParams {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for ChunkerParams {
    type Err = BadChunkerParams;

    fn from_str(text: &str) -> Result<Self, BadChunkerParams> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let number = |word: &str| {
            word.parse()
                .map_err(|_| BadChunkerParams("a number is missing or too large"))
        };
        match words.as_slice() {
            ["default"] => Ok(Self::DEFAULT),
            ["fixed", block_size] => Self::fixed(number(block_size)?, 0),
            ["fixed", block_size, header_size] => {
                Self::fixed(number(block_size)?, number(header_size)?)
            }
            ["buzhash", min, max, bits, window] | [min, max, bits, window] => {
                Self::buzhash([number(min)?, number(max)?, number(bits)?, number(window)?])
            }
            _ => Err(BadChunkerParams(
                "say `default`, `buzhash,19,23,21,4095` or `fixed,4194304`",
            )),
        }
    }
}

impl fmt::Display for ChunkerParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buzhash {
                min_exponent,
                max_exponent,
                mask_bits,
                window,
            } => write!(
                f,
                "buzhash,{min_exponent},{max_exponent},{mask_bits},{window}"
            ),
            Self::Fixed {
                block_size,
                header_size: 0,
            } => write!(f, "fixed,{block_size}"),
            Self::Fixed {
                block_size,
                header_size,
            } => write!(f, "fixed,{block_size},{header_size}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_text_and_a_stored_form() {
        for (text, full) in [
            ("default", "buzhash,19,23,21,4095"),
            ("19,23,21,4095", "buzhash,19,23,21,4095"),
            (" buzhash, 10,23,16, 4095 ", "buzhash,10,23,16,4095"),
            ("6,7,6,63", "buzhash,6,7,6,63"),
            ("12,13,12,4095", "buzhash,12,13,12,4095"),
            ("fixed,4194304", "fixed,4194304"),
            ("fixed,64,512", "fixed,64,512"),
        ] {
            let params: ChunkerParams = text.parse().unwrap();
            assert_eq!(params.to_string(), full);
            let mut stored = Vec::new();
            params.write(&mut Writer::new(&mut stored));
            let mut reader = Reader::new(&stored);
            assert_eq!(ChunkerParams::read(&mut reader), Ok(params));
            reader.end().unwrap();
        }
    }

    #[test]
    fn what_stock_borg_refuses_is_refused() {
        for text in [
            "",
            "buzhash",
            "fixed",
            "fixed,63",
            "fixed,20971480",
            "fixed,4096,20971480",
            "fixed,-1",
            "buzhash,19,24,21,4095",
            "buzhash,5,23,21,4095",
            "buzhash,21,23,19,4095",
            "buzhash,19,23,21,4094",
            "buzhash,19,19,19,4095",
            "buzhash,12,13,12,4097",
            "buzhash,19,23,21,4294967295",
            "rabin,1,2,3,4",
        ] {
            assert!(text.parse::<ChunkerParams>().is_err(), "{text}");
        }
    }

    #[test]
    fn archives_of_old_have_no_name_in_them() {
        let stored = [0x94, 19, 23, 21, 0xcd, 0x0f, 0xff];
        let params = ChunkerParams::read(&mut Reader::new(&stored));
        assert_eq!(params, Ok(ChunkerParams::DEFAULT));
        let stored = [0x94, 19, 24, 21, 0xcd, 0x0f, 0xff];
        assert!(ChunkerParams::read(&mut Reader::new(&stored)).is_err());
    }
}
