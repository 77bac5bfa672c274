//! Bytes on their way: in memory while they are few, else in a file without a name.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use store::Content;

/// What fits in memory. Most increments, and all small files.
const MEMORY_MAX: usize = 1 << 20;

/// Makes the names of spool files differ within this process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Written once, then read any number of times. Gone when dropped, also after a crash.
#[derive(Debug)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    size: u64,
    folder: PathBuf,
}

impl Spool {
    /// An empty spool; its file, if it needs one, is made in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            size: 0,
            folder: folder.to_owned(),
        }
    }

    /// Bytes that are in a file already, and stay there.
    pub(crate) fn of(file: File, size: u64, folder: &Path) -> Self {
        Self {
            file: Some(file),
            size,
            ..Self::new(folder)
        }
    }

    /// Where its file is made.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes written so far.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// A part of it.
    pub(crate) fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.read_exact_at(bytes, at);
        }
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        let part = self
            .memory
            .get(start..end)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(part);
        Ok(())
    }

    /// Reads it from the start, consuming it.
    pub(crate) fn into_reader(self) -> io::Result<SpoolReader> {
        Ok(match self.file {
            None => SpoolReader::Memory(Cursor::new(self.memory)),
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                SpoolReader::File(file)
            }
        })
    }
}

impl SpoolReader {
    /// A second reader of the same bytes. They share the place in a file: one after the other is read.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Memory(cursor) => Self::Memory(Cursor::new(cursor.get_ref().clone())),
            Self::File(file) => Self::File(file.try_clone()?),
        })
    }

    /// Goes back to the start.
    pub(crate) fn rewind(&mut self) -> io::Result<()> {
        match self {
            Self::Memory(cursor) => cursor.set_position(0),
            Self::File(file) => {
                file.seek(SeekFrom::Start(0))?;
            }
        }
        Ok(())
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > MEMORY_MAX {
            let mut file = nameless_file(&self.folder)?;
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Content for Spool {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(At {
            spool: self,
            at: offset,
        }))
    }
}

struct At<'a> {
    spool: &'a Spool,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.spool.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        self.spool.read_exact_at(buffer, self.at)?;
        self.at += wanted as u64;
        Ok(wanted)
    }
}

/// A spool, read from the start.
#[derive(Debug)]
pub(crate) enum SpoolReader {
    Memory(Cursor<Vec<u8>>),
    File(File),
}

impl Read for SpoolReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(cursor) => cursor.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

/// What a file is called for a moment where the file system knows none without a name. A program
/// that is killed in that moment leaves it: the next backup removes it.
pub(crate) const MOMENTARY_PREFIX: &str = ".ravelin-duplicity-";

/// A file of ours alone that no folder lists.
fn nameless_file(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(handle) = rustix::fs::openat(CWD, folder, flags, mode) {
        return Ok(handle.into());
    }
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{MOMENTARY_PREFIX}{}-{number}", std::process::id()));
        let mut options = File::options();
        match options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
        {
            Ok(file) => match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => return Ok(file),
            },
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_from_memory_and_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for size in [0, 1000, MEMORY_MAX, MEMORY_MAX + 1] {
            let bytes = testkit::Random::new(1).noise(size);
            let mut spool = Spool::new(folder.path());
            for piece in bytes.chunks(70_000) {
                spool.write_all(piece).unwrap();
            }
            let mut back = Vec::new();
            spool
                .open(size as u64 / 2)
                .unwrap()
                .read_to_end(&mut back)
                .unwrap();
            assert_eq!(back, bytes[size / 2..]);
            back.clear();
            spool.into_reader().unwrap().read_to_end(&mut back).unwrap();
            assert_eq!(back, bytes);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
