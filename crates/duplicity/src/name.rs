//! Names of the files of an archive.
//!
//! Everything that is known about a file before it is opened stands in its name. What does not
//! parse is not ours and is left alone.

use std::fmt;

use crate::time::{SetTime, base36};

/// Which backup set a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// A full set.
    Full {
        /// When it was made.
        time: SetTime,
    },
    /// What changed since the set that ended at `start`.
    Incremental {
        /// End of the set before it: to the second, this links a chain.
        start: SetTime,
        /// When it was made.
        end: SetTime,
    },
}

impl SetKind {
    /// The moment that the set restores.
    #[must_use]
    pub fn end(self) -> SetTime {
        match self {
            Self::Full { time } => time,
            Self::Incremental { end, .. } => end,
        }
    }

    /// Whether this is a full set.
    #[must_use]
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// What a file of a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A volume: the changes, as a part of one long tar.
    Volume {
        /// Counted from 1.
        number: u32,
    },
    /// The list of the volumes; its presence says that the set is complete.
    Manifest,
    /// The signatures of the files, from which the next increment is made.
    Signatures,
    /// Figures of the run. Written by `--jsonstat`, never needed.
    Statistics,
}

/// How the bytes of a file are wrapped, as its suffix says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suffix {
    /// As they are.
    Plain,
    /// Compressed by gzip.
    Gzip,
    /// Encrypted with OpenPGP.
    Gpg,
    /// Encrypted with S/MIME (`--use-gpgsm`). Named, not opened, by this crate.
    Smime,
}

impl Suffix {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Gpg => ".gpg",
            Self::Smime => ".p7m",
        }
    }

    /// Whether one needs a key to read the file.
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Gpg | Self::Smime)
    }
}

/// A file name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// Whose it is.
    pub set: SetKind,
    /// What is in it.
    pub part: Part,
    /// How it is wrapped.
    pub suffix: Suffix,
    /// Left by a run that was cut off; only in a local archive directory.
    pub partial: bool,
}

/// What stands before the names: `--file-prefix` and its kin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefixes {
    /// Before every name.
    pub all: String,
    /// After `all`, before volumes.
    pub archive: String,
    /// After `all`, before manifests.
    pub manifest: String,
    /// After `all`, before signatures.
    pub signature: String,
    /// After `all`, before statistics.
    pub statistics: String,
}

impl Prefixes {
    fn of(&self, part: Part) -> &str {
        match part {
            Part::Volume { .. } => &self.archive,
            Part::Manifest => &self.manifest,
            Part::Signatures => &self.signature,
            Part::Statistics => &self.statistics,
        }
    }

    /// The name of a file in the store.
    #[must_use]
    pub fn write(&self, name: &FileName) -> String {
        format!("{}{}{name}", self.all, self.of(name.part))
    }

    /// Takes a name apart; `None` when it is foreign. Old short and long forms are read, too.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<FileName> {
        let rest = name.strip_prefix(&self.all)?;
        // Every kind of file may have a prefix of its own, and the empty one fits all.
        let kinds = [
            Part::Volume { number: 1 },
            Part::Manifest,
            Part::Signatures,
            Part::Statistics,
        ];
        kinds.into_iter().find_map(|kind| {
            let bare = rest.strip_prefix(self.of(kind))?;
            let name = FileName::parse(bare)?;
            (std::mem::discriminant(&name.part) == std::mem::discriminant(&kind)).then_some(name)
        })
    }
}

impl FileName {
    /// Takes a name without prefixes apart.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() > 255 || !name.is_ascii() {
            return None;
        }
        parse_short(name).or_else(|| parse_long(name))
    }
}

/// `duplicity-inc.T0.to.T1.vol3.difftar.gpg` and the like.
impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signatures = self.part == Part::Signatures;
        match self.set {
            SetKind::Full { time } if signatures => write!(f, "duplicity-full-signatures.{time}")?,
            SetKind::Full { time } => write!(f, "duplicity-full.{time}")?,
            SetKind::Incremental { start, end } if signatures => {
                write!(f, "duplicity-new-signatures.{start}.to.{end}")?;
            }
            SetKind::Incremental { start, end } => write!(f, "duplicity-inc.{start}.to.{end}")?,
        }
        let part = if self.partial { ".part" } else { "" };
        match self.part {
            Part::Volume { number } => write!(f, ".vol{number}.difftar{part}")?,
            Part::Manifest => write!(f, ".manifest{part}")?,
            Part::Signatures => write!(f, ".sigtar{part}")?,
            Part::Statistics => write!(f, ".jsonstat{part}")?,
        }
        f.write_str(self.suffix.as_str())
    }
}

/// `.difftar.part.gz` → the suffix and whether it is partial.
fn parse_tail(tail: &str) -> Option<(Suffix, bool)> {
    let (partial, tail) = match tail.strip_prefix(".part") {
        Some(rest) => (true, rest),
        None => (false, tail),
    };
    let suffix = match tail {
        "" => Suffix::Plain,
        ".gz" => Suffix::Gzip,
        ".gpg" => Suffix::Gpg,
        ".p7m" => Suffix::Smime,
        _ => return None,
    };
    Some((suffix, partial))
}

fn parse_time(text: &str) -> Option<SetTime> {
    SetTime::parse(text).or_else(|| SetTime::parse_long(text))
}

fn parse_long(name: &str) -> Option<FileName> {
    let rest = name.strip_prefix("duplicity-")?;
    let (kind, rest) = rest.split_once('.')?;
    // Times have no dot, so what is left splits at dots.
    let (first, rest) = rest.split_once('.')?;
    let first = parse_time(first)?;
    let (set, rest) = match kind {
        "full" | "full-signatures" => (SetKind::Full { time: first }, rest),
        "inc" | "new-signatures" => {
            let (second, rest) = rest.strip_prefix("to.")?.split_once('.')?;
            let end = parse_time(second)?;
            (SetKind::Incremental { start: first, end }, rest)
        }
        _ => return None,
    };
    if kind.ends_with("signatures") {
        let (suffix, partial) = parse_tail(rest.strip_prefix("sigtar")?)?;
        return Some(FileName {
            set,
            part: Part::Signatures,
            suffix,
            partial,
        });
    }
    let (part, tail) = if let Some(tail) = rest.strip_prefix("manifest") {
        (Part::Manifest, tail)
    } else if let Some(tail) = rest.strip_prefix("jsonstat") {
        (Part::Statistics, tail)
    } else {
        let (number, tail) = rest.strip_prefix("vol")?.split_once('.')?;
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = digits.then(|| number.parse().ok())??;
        (number >= 1).then_some(())?;
        (Part::Volume { number }, tail.strip_prefix("difftar")?)
    };
    let (suffix, partial) = parse_tail(tail)?;
    Some(FileName {
        set,
        part,
        suffix,
        partial,
    })
}

/// The short forms of old: `df.T.N.dt.g`, `dns.T0.T1.st.p`, times and numbers in base 36.
fn parse_short(name: &str) -> Option<FileName> {
    let mut words = name.split('.');
    let kind = words.next()?;
    let first = SetTime::parse_base36(words.next()?)?;
    let set = match kind {
        "df" | "dfs" => SetKind::Full { time: first },
        "di" | "dns" => SetKind::Incremental {
            start: first,
            end: SetTime::parse_base36(words.next()?)?,
        },
        _ => return None,
    };
    let word = words.next()?;
    let part = match (kind, word) {
        ("dfs" | "dns", "st") => Part::Signatures,
        ("df" | "di", "m") => Part::Manifest,
        ("df" | "di", number) => {
            let number = u32::try_from(base36(number)?).ok()?;
            (number >= 1 && words.next()? == "dt").then_some(())?;
            Part::Volume { number }
        }
        _ => return None,
    };
    let mut word = words.next();
    let partial = word == Some("p");
    if partial {
        word = words.next();
    }
    let suffix = match word {
        None => Suffix::Plain,
        Some("z") => Suffix::Gzip,
        Some("g") => Suffix::Gpg,
        Some(_) => return None,
    };
    words.next().is_none().then_some(FileName {
        set,
        part,
        suffix,
        partial,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> SetKind {
        SetKind::Full {
            time: SetTime::from_seconds(1_029_626_221),
        }
    }

    fn incremental() -> SetKind {
        SetKind::Incremental {
            start: SetTime::from_seconds(1_029_626_221),
            end: SetTime::from_seconds(1_029_626_300),
        }
    }

    #[test]
    fn every_name_reads_back_as_it_was_written() {
        let parts = [
            Part::Volume { number: 17 },
            Part::Manifest,
            Part::Signatures,
            Part::Statistics,
        ];
        for set in [full(), incremental()] {
            for part in parts {
                for suffix in [Suffix::Plain, Suffix::Gzip, Suffix::Gpg, Suffix::Smime] {
                    for partial in [false, true] {
                        let name = FileName {
                            set,
                            part,
                            suffix,
                            partial,
                        };
                        assert_eq!(FileName::parse(&name.to_string()), Some(name), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_of_today() {
        let name = FileName {
            set: full(),
            part: Part::Volume { number: 1 },
            suffix: Suffix::Gpg,
            partial: false,
        };
        assert_eq!(
            name.to_string(),
            "duplicity-full.20020817T231701Z.vol1.difftar.gpg"
        );
        let name = FileName {
            set: incremental(),
            part: Part::Signatures,
            suffix: Suffix::Gzip,
            partial: true,
        };
        assert_eq!(
            name.to_string(),
            "duplicity-new-signatures.20020817T231701Z.to.20020817T231820Z.sigtar.part.gz"
        );
    }

    #[test]
    fn old_names_are_read() {
        let old = "duplicity-full.2002-08-17T16:17:01-07:00.vol1.difftar.gpg";
        let name = FileName::parse(old).unwrap();
        assert_eq!((name.set, name.part), (full(), Part::Volume { number: 1 }));
        let old = "duplicity-inc.2002-08-17T16_17_01-07_00.to.2002-08-17T16_18_20-07_00.manifest";
        assert_eq!(FileName::parse(old).unwrap().set, incremental());
        let short = FileName::parse("df.h10uyl.a.dt.p.g");
        let expected = SetKind::Full {
            time: SetTime::from_seconds(i64::from_str_radix("h10uyl", 36).unwrap()),
        };
        assert_eq!(
            short,
            Some(FileName {
                set: expected,
                part: Part::Volume { number: 10 },
                suffix: Suffix::Gpg,
                partial: true
            })
        );
        for good in [
            "di.h10uyl.h11uyl.1.dt.z",
            "df.h10uyl.m",
            "dfs.h10uyl.st",
            "dns.h10uyl.h11uyl.st.p",
        ] {
            assert!(FileName::parse(good).is_some(), "{good}");
        }
    }

    #[test]
    fn foreign_names_are_left_alone() {
        for name in [
            "",
            "duplicity-full",
            "duplicity-full.20020817T231701Z.vol0.difftar",
            "duplicity-full.20020817T231701Z.vol99999999999999999999.difftar",
            "duplicity-full.20020817T231701Z.vol1.difftar.xz",
            "duplicity-full.20020817T231701Z.vol+1.difftar",
            "duplicity-full.99999999T231701Z.manifest",
            "duplicity-inc.20020817T231701Z.manifest",
            "duplicity-full-signatures.20020817T231701Z.manifest",
            "df.h10uyl.0.dt",
            "df.h10uyl.1.dt.g.g",
            "ravelin.txt",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_prefix_has_to_be_told() {
        let prefixes = Prefixes {
            all: "laptop-".into(),
            manifest: "m-".into(),
            ..Prefixes::default()
        };
        let name = FileName {
            set: full(),
            part: Part::Manifest,
            suffix: Suffix::Plain,
            partial: false,
        };
        let text = prefixes.write(&name);
        assert_eq!(text, "laptop-m-duplicity-full.20020817T231701Z.manifest");
        assert_eq!(prefixes.read(&text), Some(name));
        assert_eq!(Prefixes::default().read(&text), None);
        assert_eq!(
            prefixes.read("duplicity-full.20020817T231701Z.manifest"),
            None
        );
        // A manifest's prefix before a volume is not what anybody wrote.
        assert_eq!(
            prefixes.read("laptop-m-duplicity-full.20020817T231701Z.vol1.difftar"),
            None
        );
    }
}
