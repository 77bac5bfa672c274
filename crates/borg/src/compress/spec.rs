//! The text form of a compression setting.

use std::fmt;
use std::str::FromStr;

/// How chunks are compressed, as `--compression` says it.
///
/// Text form: `none`, `lz4`, `zstd[,1…22]`, `zlib[,0…9]`, `lzma[,0…9]`, `auto,METHOD` and
/// `obfuscate,SPEC,METHOD`, the last around any of the others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Compression {
    /// As it is.
    None,
    /// Very fast, small gain. Borg's default.
    #[default]
    Lz4,
    /// Fast to slow, medium to large gain.
    Zstd {
        /// 1 to 22.
        level: u8,
    },
    /// Slow, medium gain; for readers of Borg before 1.1.4.
    Zlib {
        /// 0 to 9.
        level: u8,
    },
    /// Very slow, large gain.
    Lzma {
        /// 0 to 9. From 7 on it needs much memory and gains nothing: no chunk is that large.
        level: u8,
    },
    /// Tries lz4 first; only what lz4 can compress is given to the method.
    Auto(Box<Self>),
    /// Pads what is stored, so that its size says less about its content.
    Obfuscate {
        /// How much padding.
        padding: Padding,
        /// How it is compressed before.
        inner: Box<Self>,
    },
}

/// How much padding hides the size of a chunk, by the number Borg gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// 1 to 6: a random share of the size, rarely a huge one: 1 % at least at 1, ten times as
    /// much with each step.
    Relative(u8),
    /// 110 to 123: up to 1 KiB at 110, twice as much with each step.
    Absolute(u8),
    /// 250: to the next length of the Padmé scheme, 12 % at most, the same each time.
    Padme,
}

/// Why a text is no compression setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCompression {
    /// No such method.
    #[error("unknown compression `{name}` (known: none, lz4, zstd, zlib, lzma, auto, obfuscate)")]
    Method {
        /// The word.
        name: String,
    },
    /// The level is not a number, or out of the method's range.
    #[error("compression level of {method} must be {range}, not `{level}`")]
    Level {
        /// The method.
        method: &'static str,
        /// What may be said.
        range: &'static str,
        /// What was said.
        level: String,
    },
    /// `auto` or `obfuscate` without a method, or around one that they cannot hold.
    #[error("{method} needs a compression to work with: `{example}`")]
    Inner {
        /// The method.
        method: &'static str,
        /// What could be said.
        example: &'static str,
    },
    /// Words that mean nothing here.
    #[error("`{words}` is too much for {method}")]
    Excess {
        /// The method.
        method: &'static str,
        /// The words.
        words: String,
    },
}

impl FromStr for Compression {
    type Err = BadCompression;

    fn from_str(text: &str) -> Result<Self, BadCompression> {
        let (name, rest) = match text.split_once(',') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        match name {
            // Stock Borg lets a level stand here, and scripts have one.
            "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd {
                level: level("zstd", rest, 3, 1, 22)?,
            }),
            "zlib" => Ok(Self::Zlib {
                level: level("zlib", rest, 6, 0, 9)?,
            }),
            "lzma" => Ok(Self::Lzma {
                level: level("lzma", rest, 6, 0, 9)?,
            }),
            "auto" => {
                let bad = BadCompression::Inner {
                    method: "auto",
                    example: "auto,zstd,3",
                };
                match rest.ok_or(bad.clone())?.parse()? {
                    Self::Auto(_) | Self::Obfuscate { .. } => Err(bad),
                    inner => Ok(Self::Auto(Box::new(inner))),
                }
            }
            "obfuscate" => {
                let bad = BadCompression::Inner {
                    method: "obfuscate",
                    example: "obfuscate,110,zstd,3",
                };
                let (padding, inner) = rest
                    .and_then(|rest| rest.split_once(','))
                    .ok_or(bad.clone())?;
                let padding = padding.parse()?;
                match inner.parse()? {
                    Self::Obfuscate { .. } => Err(bad),
                    inner => Ok(Self::Obfuscate {
                        padding,
                        inner: Box::new(inner),
                    }),
                }
            }
            _ => Err(BadCompression::Method { name: name.into() }),
        }
    }
}

impl FromStr for Padding {
    type Err = BadCompression;

    fn from_str(text: &str) -> Result<Self, BadCompression> {
        match text.trim().parse() {
            Ok(spec @ 1..=6) => Ok(Self::Relative(spec)),
            Ok(spec @ 110..=123) => Ok(Self::Absolute(spec)),
            Ok(250) => Ok(Self::Padme),
            _ => Err(BadCompression::Level {
                method: "obfuscate",
                range: "1 to 6, 110 to 123, or 250",
                level: text.into(),
            }),
        }
    }
}

fn level(
    method: &'static str,
    text: Option<&str>,
    usual: u8,
    min: u8,
    max: u8,
) -> Result<u8, BadCompression> {
    let Some(text) = text else {
        return Ok(usual);
    };
    if let Some((_, words)) = text.split_once(',') {
        return Err(BadCompression::Excess {
            method,
            words: words.into(),
        });
    }
    match text.trim().parse() {
        Ok(level) if (min..=max).contains(&level) => Ok(level),
        _ => Err(BadCompression::Level {
            method,
            range: if max == 22 { "1 to 22" } else { "0 to 9" },
            level: text.into(),
        }),
    }
}

/// The shortest text that means the same, level included.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd { level } => write!(f, "zstd,{level}"),
            Self::Zlib { level } => write!(f, "zlib,{level}"),
            Self::Lzma { level } => write!(f, "lzma,{level}"),
            Self::Auto(inner) => write!(f, "auto,{inner}"),
            Self::Obfuscate { padding, inner } => write!(f, "obfuscate,{padding},{inner}"),
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative(spec) | Self::Absolute(spec) => write!(f, "{spec}"),
            Self::Padme => f.write_str("250"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_text() {
        for (text, full) in [
            ("none", "none"),
            ("lz4", "lz4"),
            ("lz4,3", "lz4"),
            ("zstd", "zstd,3"),
            ("zstd,22", "zstd,22"),
            ("zstd, 3", "zstd,3"),
            ("zlib", "zlib,6"),
            ("zlib,0", "zlib,0"),
            ("lzma,9", "lzma,9"),
            ("auto,lz4", "auto,lz4"),
            ("auto,lzma", "auto,lzma,6"),
            ("obfuscate,1,none", "obfuscate,1,none"),
            ("obfuscate,110,auto,zstd", "obfuscate,110,auto,zstd,3"),
            ("obfuscate,250,zlib,1", "obfuscate,250,zlib,1"),
        ] {
            let compression: Compression = text.parse().unwrap();
            assert_eq!(compression.to_string(), full, "{text}");
            assert_eq!(full.parse(), Ok(compression), "{text}");
        }
    }

    #[test]
    fn what_stock_borg_refuses_is_refused() {
        for text in [
            "",
            "LZ4",
            " zstd,3",
            "zstd,0",
            "zstd,23",
            "zstd,",
            "zstd,3,4",
            "zlib,10",
            "lzma,10",
            "lzma,-1",
            "auto",
            "auto,zstd,3,4",
            "auto,obfuscate,1,lz4",
            "obfuscate",
            "obfuscate,1",
            "obfuscate,7,lz4",
            "obfuscate,124,lz4",
        ] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }
}
