//! What is to be written: bytes of a known length that can be read again.
//!
//! A retry needs the start once more, a checksum that is sent ahead needs a pass of its own, and
//! an upload that goes on after a crash starts in the middle. A one-pass stream can do none of
//! these, so it is collected first: see [`Spool`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes that are copied at once.
const COPY_SIZE: usize = 1 << 17;

/// Bytes to be written to a store.
pub trait Content: Send + Sync {
    /// How many bytes there are. Must not change.
    fn size(&self) -> u64;

    /// Reads from `offset` to the end, any number of times, from several threads.
    ///
    /// # Errors
    ///
    /// What the system says. A reader that ends before [`size`](Self::size) bytes were given
    /// makes the write fail.
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>>;
}

impl Content for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(Box::new(self.get(start..).unwrap_or_default()))
    }
}

impl Content for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        self.as_slice().open(offset)
    }
}

impl<const N: usize> Content for [u8; N] {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        self.as_slice().open(offset)
    }
}

/// A part of some content, as parts of a big upload are sent.
pub(crate) struct Part<'a> {
    pub(crate) whole: &'a dyn Content,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Content for Part<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        let rest = self.size.saturating_sub(offset);
        Ok(Box::new(self.whole.open(self.start + offset)?.take(rest)))
    }
}

/// A file of this machine as content: the bytes that it has at opening, whatever is appended
/// later.
#[derive(Debug)]
pub struct FileContent {
    file: File,
    size: u64,
}

impl FileContent {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(File::open(path)?)
    }

    /// Takes an open file.
    ///
    /// # Errors
    ///
    /// When its size cannot be learned.
    pub fn from_file(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl Content for FileContent {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(FileReader {
            file: &self.file,
            at: offset,
            end: self.size,
        }))
    }
}

/// Reads at its own position, so that several readers share one descriptor.
struct FileReader<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        if count == 0 && wanted > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was read",
            ));
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// Why a stream could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The stream cannot be read to its end.
    #[error(transparent)]
    Stream(io::Error),
    /// What was read cannot be held on this machine.
    #[error("cannot hold a copy in {}", folder.display())]
    Hold {
        /// The folder for what memory has no room for.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A stream of unknown length, collected: in memory while small, else in a file without a name.
///
/// Memory use is bounded by `memory_max` given to [`Spool::collect`].
#[derive(Debug)]
pub enum Spool {
    /// All of it, in memory.
    Memory(Vec<u8>),
    /// All of it, in a file that vanishes with this value.
    File(FileContent),
}

impl Spool {
    /// Reads `stream` to its end. What does not fit in `memory_max` bytes goes to a file in
    /// `folder`, readable by its owner only and removed from the folder at once.
    ///
    /// # Errors
    ///
    /// [`SpoolError`] says on which side it failed.
    pub fn collect(
        mut stream: impl Read,
        memory_max: usize,
        folder: &Path,
    ) -> Result<Self, SpoolError> {
        let hold = |source| SpoolError::Hold {
            folder: folder.to_owned(),
            source,
        };
        let mut memory = Vec::new();
        stream
            .by_ref()
            .take(memory_max as u64 + 1)
            .read_to_end(&mut memory)
            .map_err(SpoolError::Stream)?;
        if memory.len() <= memory_max {
            return Ok(Self::Memory(memory));
        }
        let mut file = nameless_file(folder).map_err(hold)?;
        file.write_all(&memory).map_err(hold)?;
        memory.resize(COPY_SIZE, 0);
        memory.shrink_to_fit();
        loop {
            let count = match stream.read(&mut memory) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SpoolError::Stream(error)),
            };
            let bytes = memory.get(..count).unwrap_or_default();
            file.write_all(bytes).map_err(hold)?;
        }
        file.seek(SeekFrom::Start(0)).map_err(hold)?;
        FileContent::from_file(file).map(Self::File).map_err(hold)
    }
}

impl Content for Spool {
    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.size(),
            Self::File(file) => file.size(),
        }
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        match self {
            Self::Memory(bytes) => bytes.open(offset),
            Self::File(file) => file.open(offset),
        }
    }
}

fn nameless_file(folder: &Path) -> io::Result<File> {
    for attempt in 0_u32.. {
        let path: PathBuf = folder.join(format!(".ravelin-spool-{}-{attempt}", std::process::id()));
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 1000 => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &dyn Content, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        content
            .open(offset)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn a_stream_is_collected_in_memory_or_in_a_file_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        for memory_max in [0, 99_999, 100_000, 1 << 20] {
            let spool = Spool::collect(bytes.as_slice(), memory_max, folder.path()).unwrap();
            assert_eq!(matches!(spool, Spool::Memory(_)), memory_max >= 100_000);
            assert_eq!(spool.size(), 100_000);
            assert_eq!(read(&spool, 0), bytes);
            assert_eq!(read(&spool, 99_000), bytes[99_000..]);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn what_cannot_be_held_is_no_fault_of_the_stream() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let nowhere = Path::new("/nonexistent/folder");
        let held = Spool::collect([1; 10].as_slice(), 9, nowhere);
        assert!(matches!(held, Err(SpoolError::Hold { .. })), "{held:?}");
        let folder = tempfile::tempdir().unwrap();
        for memory_max in [0, 10, 100] {
            let stream = [1; 10].chain(Broken);
            let held = Spool::collect(stream, memory_max, folder.path());
            assert!(matches!(held, Err(SpoolError::Stream(_))), "{held:?}");
        }
    }

    #[test]
    fn a_part_is_a_window() {
        let bytes = b"0123456789".to_vec();
        let part = Part {
            whole: &bytes,
            start: 3,
            size: 4,
        };
        assert_eq!(read(&part, 0), b"3456");
        assert_eq!(read(&part, 2), b"56");
    }

    #[test]
    fn a_file_that_becomes_shorter_fails_and_does_not_pad() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, b"0123456789").unwrap();
        let content = FileContent::open(&path).unwrap();
        std::fs::write(&path, b"0123").unwrap();
        let mut bytes = Vec::new();
        let error = content
            .open(0)
            .unwrap()
            .read_to_end(&mut bytes)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
