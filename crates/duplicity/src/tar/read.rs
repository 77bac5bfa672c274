//! Reading a tar as a stream.

use std::io::{self, BufRead, Read};

use super::{BLOCK_SIZE, TarHeader, TarKind, padding};

/// Longest extension header that is read: a path of Linux has 4096 bytes, and an extension holds
/// two of them. Archived trees nest deeper than one path can say, so there is room.
const EXTENSION_MAX: u64 = 256 << 10;

/// Why bytes are not a tar that can be read.
#[derive(Debug, thiserror::Error)]
pub enum BadTar {
    /// A header's checksum does not fit.
    #[error("a tar header has a wrong checksum")]
    Checksum,
    /// A number is none, or is negative.
    #[error("a number in a tar header makes no sense")]
    Number,
    /// An extension header is too long or broken.
    #[error("an extended tar header is broken or larger than any name")]
    Extension,
    /// It ends within a member.
    #[error("the tar is cut off")]
    CutOff,
    /// The bytes could not be read.
    #[error("cannot read the tar")]
    Read(#[source] io::Error),
}

/// Reads members one after the other.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    /// Bytes of the member's data that were not read.
    left: u64,
    padding: usize,
    ended: bool,
}

/// What extension headers say about the next member.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    mtime: Option<i64>,
}

impl<R: BufRead> TarReader<R> {
    /// Nothing is read yet.
    pub fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            ended: false,
        }
    }

    /// The next member's header; `None` at the end. Data that was not read is skipped.
    ///
    /// What follows the end is read and ignored: a volume may carry rubbish there, and ciphers and
    /// checksums check themselves at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`BadTar`] when this is no tar any more; what came before was good.
    #[expect(
        clippy::should_implement_trait,
        reason = "the data of a member is borrowed between two calls"
    )]
    pub fn next(&mut self) -> Result<Option<TarHeader>, BadTar> {
        if self.ended {
            return Ok(None);
        }
        self.skip()?;
        let mut extension = Extension::default();
        loop {
            let Some(block) = self.block()? else {
                self.ended = true;
                io::copy(&mut self.input, &mut io::sink()).map_err(BadTar::Read)?;
                return Ok(None);
            };
            let mut header = parse(&block)?;
            match header.kind {
                TarKind::Other(b'x') => extension.parse(&self.payload(header.size)?)?,
                // A global header would speak of all members; duplicity writes none.
                TarKind::Other(b'g') => drop(self.payload(header.size)?),
                TarKind::Other(b'L') => {
                    extension.name = Some(until_nul(self.payload(header.size)?));
                }
                TarKind::Other(b'K') => {
                    extension.link = Some(until_nul(self.payload(header.size)?));
                }
                _ => {
                    extension.apply(&mut header);
                    self.left = header.size;
                    self.padding = padding(header.size);
                    return Ok(Some(header));
                }
            }
        }
    }

    /// The data of the member that was read last.
    pub fn data(&mut self) -> TarData<'_, R> {
        TarData(self)
    }

    fn skip(&mut self) -> Result<(), BadTar> {
        let mut unread = self.left.saturating_add(self.padding as u64);
        self.left = 0;
        self.padding = 0;
        while unread > 0 {
            let ahead = match self.input.fill_buf() {
                Ok(ahead) => ahead.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BadTar::Read(error)),
            };
            if ahead == 0 {
                return Err(BadTar::CutOff);
            }
            let passed = usize::try_from(unread).map_or(ahead, |unread| ahead.min(unread));
            self.input.consume(passed);
            unread -= passed as u64;
        }
        Ok(())
    }

    /// The next block; `None` when it is the zeros of the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK_SIZE]>, BadTar> {
        let mut block = [0; BLOCK_SIZE];
        let mut head = self.input.by_ref().take(1);
        // Duplicity 0.8 wrote tars without an end. That nothing is missing, the hash of the file says.
        match head.read_exact(&mut block[..1]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            begun => begun.map_err(BadTar::Read)?,
        }
        self.input.read_exact(&mut block[1..]).map_err(cut_off)?;
        Ok(block.iter().any(|&byte| byte != 0).then_some(block))
    }

    fn payload(&mut self, size: u64) -> Result<Vec<u8>, BadTar> {
        if size > EXTENSION_MAX {
            return Err(BadTar::Extension);
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| BadTar::Extension)?];
        self.input.read_exact(&mut bytes).map_err(cut_off)?;
        self.padding = padding(size);
        self.skip()?;
        Ok(bytes)
    }
}

/// The data of one member.
#[derive(Debug)]
pub struct TarData<'a, R>(&'a mut TarReader<R>);

impl<R: BufRead> Read for TarData<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.0.left).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let count = self
            .0
            .input
            .read(buffer.get_mut(..wanted).unwrap_or_default())?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, BadTar::CutOff));
        }
        self.0.left -= count as u64;
        Ok(count)
    }
}

fn cut_off(error: io::Error) -> BadTar {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BadTar::CutOff,
        _ => BadTar::Read(error),
    }
}

fn parse(block: &[u8; BLOCK_SIZE]) -> Result<TarHeader, BadTar> {
    let field = |from: usize, width: usize| block.get(from..from + width).unwrap_or_default();
    let text = |from, width| until_nul(field(from, width).to_vec());
    let sum: u32 = (0_usize..)
        .zip(block)
        .map(|(at, &byte)| u32::from(if (148..156).contains(&at) { b' ' } else { byte }))
        .sum();
    if number(field(148, 8)) != Some(sum.into()) {
        return Err(BadTar::Checksum);
    }
    let integer = |from, width| {
        let number = number(field(from, width)).ok_or(BadTar::Number)?;
        u64::try_from(number).map_err(|_| BadTar::Number)
    };
    let mut name = text(0, 100);
    let is_posix = field(257, 6) == b"ustar\0";
    let prefix = text(345, 155);
    if is_posix && !prefix.is_empty() {
        name = [prefix.as_slice(), b"/", &name].concat();
    }
    let kind = match block[156] {
        b'0' | 0 | b'7' => TarKind::File,
        b'1' => TarKind::HardLink,
        b'2' => TarKind::Symlink,
        b'3' => TarKind::CharDevice,
        b'4' => TarKind::BlockDevice,
        b'5' => TarKind::Directory,
        b'6' => TarKind::Fifo,
        other => TarKind::Other(other),
    };
    let mtime = number(field(136, 12)).ok_or(BadTar::Number)?;
    let device = |from| u32::try_from(number(field(from, 8)).unwrap_or(0)).unwrap_or(0);
    // Only files and what we do not know have data behind them, whatever the header says.
    let size = match kind {
        TarKind::File | TarKind::Other(_) => integer(124, 12)?,
        _ => 0,
    };
    Ok(TarHeader {
        name,
        kind,
        mode: u32::try_from(integer(100, 8)?).map_err(|_| BadTar::Number)? & 0o7777,
        uid: integer(108, 8)?,
        gid: integer(116, 8)?,
        user: text(265, 32),
        group: text(297, 32),
        mtime: i64::try_from(mtime).map_err(|_| BadTar::Number)?,
        size,
        link: text(157, 100),
        device: (device(329), device(337)),
    })
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// Octal digits with blanks around, or GNU's base-256 form. An empty field is 0.
fn number(field: &[u8]) -> Option<i128> {
    match field.first()? {
        0x80 | 0xff => {
            let start = if field.first() == Some(&0xff) { -1 } else { 0 };
            let digits = field.get(1..)?;
            // Twelve bytes fit into the integer with room to spare.
            Some(
                digits
                    .iter()
                    .fold(start, |value: i128, &byte| value << 8 | i128::from(byte)),
            )
        }
        _ => {
            let digits = field.split(|&byte| byte == 0).next()?.trim_ascii();
            let octal = digits.iter().all(|byte| matches!(byte, b'0'..=b'7'));
            octal.then(|| {
                digits
                    .iter()
                    .fold(0, |value, &digit| value << 3 | i128::from(digit - b'0'))
            })
        }
    }
}

impl Extension {
    /// Takes PAX records: `21 hdrcharset=BINARY\n`.
    fn parse(&mut self, mut records: &[u8]) -> Result<(), BadTar> {
        while !records.is_empty() {
            let blank = records
                .iter()
                .position(|&byte| byte == b' ')
                .ok_or(BadTar::Extension)?;
            let length: usize = unsigned(records.get(..blank).unwrap_or_default())
                .and_then(|length| length.try_into().ok())
                .ok_or(BadTar::Extension)?;
            let record = records.get(blank + 1..length).ok_or(BadTar::Extension)?;
            records = records.get(length..).unwrap_or_default();
            let record = record.strip_suffix(b"\n").ok_or(BadTar::Extension)?;
            let equals = record
                .iter()
                .position(|&byte| byte == b'=')
                .ok_or(BadTar::Extension)?;
            let (key, value) = record.split_at(equals);
            self.record(key, value.get(1..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadTar> {
        let text = || {
            let good = !value.contains(&0);
            good.then(|| Some(value.to_vec())).ok_or(BadTar::Extension)
        };
        let integer = || unsigned(value).map(Some).ok_or(BadTar::Number);
        match key {
            b"path" => self.name = text()?,
            b"linkpath" => self.link = text()?,
            b"uname" => self.user = text()?,
            b"gname" => self.group = text()?,
            b"uid" => self.uid = integer()?,
            b"gid" => self.gid = integer()?,
            b"size" => self.size = integer()?,
            b"mtime" => {
                // Whole seconds are all that duplicity keeps.
                let (negative, digits) = match value.strip_prefix(b"-") {
                    Some(digits) => (true, digits),
                    None => (false, value),
                };
                let whole = digits
                    .split(|&byte| byte == b'.')
                    .next()
                    .unwrap_or_default();
                let seconds = unsigned(whole)
                    .and_then(|seconds| i64::try_from(seconds).ok())
                    .ok_or(BadTar::Number)?;
                self.mtime = Some(if negative { -seconds } else { seconds });
            }
            _ => {}
        }
        Ok(())
    }

    fn apply(self, header: &mut TarHeader) {
        header.name = self.name.unwrap_or(std::mem::take(&mut header.name));
        header.link = self.link.unwrap_or(std::mem::take(&mut header.link));
        header.user = self.user.unwrap_or(std::mem::take(&mut header.user));
        header.group = self.group.unwrap_or(std::mem::take(&mut header.group));
        header.uid = self.uid.unwrap_or(header.uid);
        header.gid = self.gid.unwrap_or(header.gid);
        header.mtime = self.mtime.unwrap_or(header.mtime);
        if matches!(header.kind, TarKind::File | TarKind::Other(_)) {
            header.size = self.size.unwrap_or(header.size);
        }
    }
}

fn unsigned(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}
