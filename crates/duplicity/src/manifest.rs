//! The manifest of a set: which volumes it has, what range of paths each holds, and their hashes.
//!
//! Its presence commits the set, so it is written last. What it says about a volume is what a
//! restore checks the volume against.

use hex::FromHex;
use tree::TreePath;

use crate::name::SetKind;

/// Most volumes that a manifest may name: at the smallest sensible size of 1 MiB, an exbibyte.
const VOLUMES_MAX: usize = 1 << 20;

/// Largest manifest that is read, in bytes. A volume takes some 200 bytes, a changed file one line.
pub const MANIFEST_SIZE_MAX: u64 = 1 << 30;

/// What a set consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The machine it was made on.
    pub host: Option<Vec<u8>>,
    /// The source, as it was typed.
    pub local_dir: Option<Vec<u8>>,
    /// The volumes, numbered from 1 without a gap unless the manifest is damaged.
    pub volumes: Vec<VolumeInfo>,
    /// Regular files that changed; `None` when they were not recorded.
    pub files: Option<Vec<ChangedFile>>,
}

/// One volume, as its manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Counted from 1.
    pub number: u32,
    /// First entry in it.
    pub start: Position,
    /// Last entry in it.
    pub end: Position,
    /// Hashes of the stored file. Empty: the volume cannot be verified.
    pub hashes: Vec<Hash>,
}

/// A place in the order of the entries: a path, and which 64 KiB block of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The entry.
    pub path: TreePath,
    /// Number of the block, counted from 1; `None` when the place is not within a file.
    pub block: Option<u64>,
}

/// A hash of a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// What duplicity writes.
    Sha1([u8; 20]),
    /// What it accepts as well.
    Md5([u8; 16]),
}

/// A line of the list of changed files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFile {
    /// What happened to it.
    pub change: Change,
    /// Its path, as it stands there.
    pub path: Vec<u8>,
}

/// What happened to an object since the last set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    New,
    /// Its content or its metadata are different.
    Changed,
    /// It is gone.
    Deleted,
}

/// Why bytes are not a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line_number} of the manifest: {what}")]
pub struct BadManifest {
    /// Counted from 1.
    pub line_number: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// Volumes that are listed again at a lower number void those at and above it: so a run that
    /// was resumed has written it.
    ///
    /// # Errors
    ///
    /// [`BadManifest`] for anything that duplicity does not write. A line that is cut off at the
    /// end of the text is such a thing.
    pub fn parse(text: &[u8]) -> Result<Self, BadManifest> {
        Parser {
            lines: text.split(|&byte| byte == b'\n').enumerate().peekable(),
        }
        .parse()
    }

    /// Reads a manifest that may end anywhere: what is before the first volume that cannot be read.
    pub(crate) fn parse_part(mut text: &[u8]) -> Self {
        loop {
            let error = match Self::parse(text) {
                Ok(manifest) => return manifest,
                Err(error) => error,
            };
            let lines = text.split_inclusive(|&byte| byte == b'\n');
            let size = lines.take(error.line_number).map(<[u8]>::len).sum();
            let read = text.get(..size).unwrap_or_default();
            let word = b"\nVolume ";
            match read.windows(word.len()).rposition(|bytes| bytes == word) {
                Some(at) => text = text.get(..=at).unwrap_or_default(),
                None => return Self::default(),
            }
        }
    }

    /// The bytes to be stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(host) = &self.host {
            line(&mut out, &[b"Hostname ", &quote(host)]);
        }
        if let Some(local_dir) = &self.local_dir {
            line(&mut out, &[b"Localdir ", &quote(local_dir)]);
        }
        for volume in &self.volumes {
            volume.write(&mut out);
        }
        if let Some(files) = &self.files {
            line(&mut out, &[format!("Filelist {}", files.len()).as_bytes()]);
            for file in files {
                let change = format!("    {:7}  ", file.change.word());
                line(&mut out, &[change.as_bytes(), &quote(&file.path)]);
            }
        }
        out
    }

    /// The volume of that number.
    #[must_use]
    pub fn volume(&self, number: u32) -> Option<&VolumeInfo> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.volumes
            .get(index)
            .filter(|volume| volume.number == number)
    }

    /// The volumes that may hold `path` or something below it.
    pub fn volumes_of<'a>(&'a self, paths: &'a [TreePath]) -> impl Iterator<Item = &'a VolumeInfo> {
        self.volumes.iter().filter(|volume| {
            paths.iter().any(|path| {
                // Nothing below `path` sorts before it, and all of it sorts before its next
                // neighbour.
                let ends_before = volume.end.path < *path;
                let starts_behind =
                    volume.start.path > *path && !volume.start.path.starts_with(path);
                !ends_before && !starts_behind
            })
        })
    }

    /// Whether the set holds `numbers` and nothing else, as far as this manifest knows.
    #[must_use]
    pub fn is_gap_free(&self) -> bool {
        (1..)
            .zip(&self.volumes)
            .all(|(number, volume)| volume.number == number)
    }
}

impl VolumeInfo {
    /// The hash that a reader should check: SHA-1 before MD5.
    #[must_use]
    pub fn hash(&self) -> Option<Hash> {
        let sha1 = self
            .hashes
            .iter()
            .find(|hash| matches!(hash, Hash::Sha1(_)));
        sha1.or(self.hashes.first()).copied()
    }

    fn write(&self, out: &mut Vec<u8>) {
        line(out, &[format!("Volume {}:", self.number).as_bytes()]);
        for (word, position) in [("StartingPath", &self.start), ("EndingPath  ", &self.end)] {
            let block = position
                .block
                .map_or_else(|| " ".to_owned(), |block| block.to_string());
            let path = if position.path.is_root() {
                b"."
            } else {
                position.path.as_bytes()
            };
            line(
                out,
                &[
                    format!("    {word}   ").as_bytes(),
                    &quote(path),
                    b" ",
                    block.as_bytes(),
                ],
            );
        }
        for hash in &self.hashes {
            let (word, bytes): (_, &[u8]) = match hash {
                Hash::Sha1(bytes) => ("SHA1", bytes),
                Hash::Md5(bytes) => ("MD5", bytes),
            };
            line(
                out,
                &[format!("    Hash {word} {}", hex::encode(bytes)).as_bytes()],
            );
        }
    }
}

impl Change {
    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

/// What a set is called in the head of messages.
impl std::fmt::Display for SetKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Full { time } => write!(f, "full {time}"),
            Self::Incremental { start, end } => write!(f, "incremental {start} to {end}"),
        }
    }
}

struct Parser<'a, L: Iterator<Item = (usize, &'a [u8])>> {
    lines: std::iter::Peekable<L>,
}

impl<'a, L: Iterator<Item = (usize, &'a [u8])>> Parser<'a, L> {
    fn parse(mut self) -> Result<Manifest, BadManifest> {
        let mut manifest = Manifest::default();
        while let Some((index, text)) = self.lines.next() {
            let bad = |what| BadManifest {
                line_number: index + 1,
                what,
            };
            if text.is_empty() && self.lines.peek().is_none() {
                break;
            }
            let (word, rest) = split_word(text);
            match word {
                b"Hostname" => manifest.host = Some(unquote(rest).ok_or(bad("broken quoting"))?),
                b"Localdir" => {
                    manifest.local_dir = Some(unquote(rest).ok_or(bad("broken quoting"))?);
                }
                b"Volume" => {
                    let number = rest.strip_suffix(b":").and_then(decimal);
                    let number = number.and_then(|number| u32::try_from(number).ok());
                    let number = number
                        .filter(|&number| number >= 1)
                        .ok_or(bad("not a volume's number"))?;
                    manifest.volumes.retain(|volume| volume.number < number);
                    if manifest.volumes.len() >= VOLUMES_MAX {
                        return Err(bad("more volumes than can be"));
                    }
                    manifest.volumes.push(self.volume(number, index)?);
                }
                b"Filelist" => {
                    decimal(rest).ok_or(bad("not a number of files"))?;
                    manifest.files = Some(self.files()?);
                }
                _ => return Err(bad("unknown field")),
            }
        }
        Ok(manifest)
    }

    /// The next line, if it is indented.
    fn indented(&mut self) -> Option<(usize, &'a [u8])> {
        let (index, text) = self.lines.next_if(|(_, text)| text.starts_with(b"    "))?;
        Some((index, text.trim_ascii_start()))
    }

    fn volume(&mut self, number: u32, head: usize) -> Result<VolumeInfo, BadManifest> {
        let (mut start, mut end, mut hashes) = (None, None, Vec::new());
        let mut last = head;
        while let Some((index, text)) = self.indented() {
            last = index;
            let bad = |what| BadManifest {
                line_number: index + 1,
                what,
            };
            let (word, rest) = split_word(text);
            match word {
                b"StartingPath" => {
                    start = Some(position(rest).ok_or(bad("not a path and a block"))?);
                }
                b"EndingPath" => end = Some(position(rest).ok_or(bad("not a path and a block"))?),
                b"Hash" => {
                    let (name, digits) = split_word(rest);
                    match name {
                        b"SHA1" => hashes.push(Hash::Sha1(
                            FromHex::from_hex(digits).map_err(|_| bad("not a SHA1"))?,
                        )),
                        b"MD5" => hashes.push(Hash::Md5(
                            FromHex::from_hex(digits).map_err(|_| bad("not an MD5"))?,
                        )),
                        // A hash that we cannot compute says nothing.
                        _ => {}
                    }
                }
                _ => return Err(bad("unknown field of a volume")),
            }
        }
        let bad = BadManifest {
            line_number: last + 1,
            what: "a volume without start or end",
        };
        Ok(VolumeInfo {
            number,
            start: start.ok_or(bad.clone())?,
            end: end.ok_or(bad)?,
            hashes,
        })
    }

    fn files(&mut self) -> Result<Vec<ChangedFile>, BadManifest> {
        let mut files = Vec::new();
        while let Some((index, text)) = self.indented() {
            let bad = |what| BadManifest {
                line_number: index + 1,
                what,
            };
            let (word, rest) = split_word(text);
            let change = match word {
                b"new" => Change::New,
                b"changed" => Change::Changed,
                b"deleted" => Change::Deleted,
                _ => return Err(bad("unknown kind of change")),
            };
            let path = unquote(rest).ok_or(bad("broken quoting"))?;
            files.push(ChangedFile { change, path });
        }
        Ok(files)
    }
}

/// `path block`, `path` and blanks, or a quoted path.
fn position(text: &[u8]) -> Option<Position> {
    let text = text.trim_ascii();
    let (path, block) = match text.iter().position(u8::is_ascii_whitespace) {
        Some(at) => text.split_at_checked(at)?,
        None => (text, b"".as_slice()),
    };
    let block = match block.trim_ascii() {
        b"" => None,
        digits => Some(decimal(digits)?),
    };
    let path = TreePath::new(unquote(path)?).ok()?;
    Some(Position { path, block })
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b' ') {
        Some(at) => {
            let (word, rest) = text.split_at(at);
            (word, rest.trim_ascii_start())
        }
        None => (text, b""),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.push(b'\n');
}

/// Bytes that make quoting necessary. White space is what Python's `\s` takes for it in bytes.
fn needs_quoting(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c | b'\\' | b'"' | b'\''
    )
}

/// The text as it stands in a manifest.
fn quote(text: &[u8]) -> Vec<u8> {
    if !text.is_empty() && !text.iter().copied().any(needs_quoting) {
        return text.to_vec();
    }
    let mut out = vec![b'"'];
    for &byte in text {
        if needs_quoting(byte) {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            out.push(byte);
        }
    }
    out.push(b'"');
    out
}

/// The text that was quoted; `None` when the quoting is broken.
fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let Some(&mark) = text.first().filter(|&&byte| byte == b'"' || byte == b'\'') else {
        return Some(text.to_vec());
    };
    let mut rest = text.get(1..)?.strip_suffix(&[mark])?;
    let mut out = Vec::with_capacity(rest.len());
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\\' => {
                let digits = rest.strip_prefix(b"x")?;
                let [byte] = FromHex::from_hex(digits.get(..2)?).ok()?;
                out.push(byte);
                rest = digits.get(2..)?;
            }
            _ if byte == mark => return None,
            _ => out.push(byte),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice as _;

    use super::*;

    /// Laid out as duplicity 3.2.1 writes it.
    const SAMPLE: &[u8] = b"Hostname myhost
Localdir /home/me
Volume 1:
    StartingPath   .  
    EndingPath     big/file 15
    Hash SHA1 6382c00000000000000000000000000000000000
Volume 2:
    StartingPath   big/file 16
    EndingPath     \"z\\x20\\x22\"  
    Hash SHA1 6382c00000000000000000000000000000000001
Filelist 2
    new      a.txt
    changed  \"sp\\x20ace\"
";

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn a_manifest_reads_and_is_written_byte_for_byte() {
        let manifest = Manifest::parse(SAMPLE).unwrap();
        assert_eq!(manifest.host.as_deref(), Some(b"myhost".as_slice()));
        assert_eq!(
            manifest.volumes[0].start,
            Position {
                path: TreePath::root(),
                block: None
            }
        );
        assert_eq!(
            manifest.volumes[0].end,
            Position {
                path: path("big/file"),
                block: Some(15)
            }
        );
        assert_eq!(manifest.volumes[1].end.path, path("z \""));
        assert_eq!(manifest.files.as_ref().unwrap()[1].path, b"sp ace");
        assert_eq!(manifest.to_bytes(), SAMPLE);
    }

    #[test]
    fn a_part_has_the_volumes_that_were_written_to_the_end() {
        let whole = Manifest::parse(SAMPLE).unwrap();
        for end in 0..=SAMPLE.len() {
            let text = &SAMPLE[..end];
            let part = Manifest::parse_part(text);
            // What was cut off may read as another path; a volume counts by its hash, which is last.
            let verified = part.volumes.iter().filter(|volume| volume.hash().is_some());
            let verified: Vec<_> = verified.cloned().collect();
            let is_written = |number| text.contains_str(format!("SHA1 6382c{number:035}"));
            let written = (0..2).filter(|number| is_written(*number)).count();
            assert!(whole.volumes.starts_with(&verified), "{end}");
            // A line that is cut off may have belonged to the volume before it.
            let is_cut = !text.ends_with(b"\n");
            assert!(verified.len() + usize::from(is_cut) >= written, "{end}");
            if !verified.is_empty() {
                let head =
                    |manifest: &Manifest| (manifest.host.clone(), manifest.local_dir.clone());
                assert_eq!(head(&part), head(&whole));
            }
        }
        let damaged = SAMPLE.replace("    EndingPath     \"z", "    Ending \"z");
        assert_eq!(Manifest::parse_part(&damaged).volumes, whole.volumes[..1]);
        let damaged = SAMPLE.replace("Localdir", "\0\0");
        assert_eq!(Manifest::parse_part(&damaged), Manifest::default());
    }

    #[test]
    fn a_list_of_files_may_stand_before_the_volumes() {
        let text = b"Hostname h\nLocaldir /\nFilelist 0\nVolume 1:\n    StartingPath   .  \n    EndingPath     a  \n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.files, Some(Vec::new()));
        assert_eq!(manifest.volumes.len(), 1);
        assert_eq!(manifest.volumes[0].hash(), None);
    }

    #[test]
    fn a_volume_listed_again_voids_those_behind_it() {
        let volume = |number: u32, path: &str| {
            format!("Volume {number}:\n    StartingPath   {path}  \n    EndingPath     {path}  \n")
        };
        let text = [
            volume(1, "a"),
            volume(2, "b"),
            volume(3, "c"),
            volume(2, "bb"),
        ]
        .concat();
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let paths: Vec<_> = manifest
            .volumes
            .iter()
            .map(|volume| volume.start.path.to_string())
            .collect();
        assert_eq!(paths, ["a", "bb"]);
        assert!(manifest.is_gap_free());
        assert!(
            !Manifest::parse(volume(2, "a").as_bytes())
                .unwrap()
                .is_gap_free()
        );
    }

    #[test]
    fn every_byte_survives_quoting() {
        let every: Vec<u8> = (1..=255).collect();
        assert_eq!(unquote(&quote(&every)), Some(every));
        assert_eq!(quote(b"plain/\xff"), b"plain/\xff");
        // The real program looks at the first byte of a field.
        assert_eq!(quote(b""), b"\"\"");
    }

    #[test]
    fn what_duplicity_does_not_write_is_refused() {
        for (text, what) in [
            ("Volume 0:\n", "not a volume's number"),
            ("Volume 99999999999999999999:\n", "not a volume's number"),
            (
                "Volume 1:\n    StartingPath   a  \n",
                "a volume without start or end",
            ),
            (
                "Volume 1:\n    StartingPath   ../a  \n",
                "not a path and a block",
            ),
            (
                "Volume 1:\n    StartingPath   a -1\n",
                "not a path and a block",
            ),
            ("Hostname \"a\\x2\"\n", "broken quoting"),
            ("Hostname \"a\n", "broken quoting"),
            ("Nonsense\n", "unknown field"),
            ("Filelist x\n", "not a number of files"),
            ("Volume 1:\n    Hash SHA1 12\n", "not a SHA1"),
        ] {
            assert_eq!(
                Manifest::parse(text.as_bytes()).unwrap_err().what,
                what,
                "{text}"
            );
        }
    }

    #[test]
    fn only_volumes_that_can_hold_a_path_are_named() {
        let text = b"Volume 1:\n    StartingPath   .  \n    EndingPath     b/x 3\n\
            Volume 2:\n    StartingPath   b/x 4\n    EndingPath     b/x  \n\
            Volume 3:\n    StartingPath   b/y  \n    EndingPath     c  \n";
        let manifest = Manifest::parse(text).unwrap();
        let volumes = |wanted: &str| -> Vec<u32> {
            manifest
                .volumes_of(&[path(wanted)])
                .map(|volume| volume.number)
                .collect()
        };
        assert_eq!(volumes("a"), [1]);
        assert_eq!(volumes("b/x"), [1, 2]);
        assert_eq!(volumes("b"), [1, 2, 3]);
        assert_eq!(volumes("b!"), [3]);
        assert_eq!(volumes("d"), [0; 0]);
        assert_eq!(volumes(""), [1, 2, 3]);
    }
}
