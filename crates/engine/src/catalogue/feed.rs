//! What a run reads, spooled until the layers have committed.
//!
//! The spool has no name until it is kept, so that nothing is left of it whatever happens. An object is
//! written as what its path does not share with the one before: about twenty bytes. The spool of the last
//! run is kept beside the catalogue: what differs between the two is all that the catalogue has to be
//! told. A mark says to which moment it belongs, and a checksum that it is whole; if either is not so, it
//! is as if it were not there.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Take, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, MemfdFlags, linkat, memfd_create};
use tree::{Ending, Entry, Step};

use super::fill::{Object, State};
use crate::Machine;
use crate::places::unnamed_file;

/// How a spool that is kept begins; then come the mark, the checksum of the rest, and four bytes of
/// nothing.
const MAGIC: &[u8; 8] = b"RvSpool1";
const HEAD_SIZE: usize = 24;

/// Bytes of an object apart from its path: two lengths, kind, size, time.
const FIXED: usize = 4 + 4 + 1 + 8 + 8;

/// Longest path that is spooled; a system knows none that is longer.
const PATH_MAX: usize = 1 << 20;

const BUFFER_SIZE: usize = 1 << 18;

/// Spools the objects of one reading.
pub(crate) struct Feed {
    /// `None` when it cannot be written: the catalogue reads from the layers then.
    spool: Option<BufWriter<File>>,
    /// The path of the last object.
    last: Vec<u8>,
    /// The object that is being read: if that fails it is in no layer.
    open: Option<Arc<Entry>>,
    checksum: crc32fast::Hasher,
    /// Whether the objects came in the order of paths.
    is_ordered: bool,
}

/// The spool of a moment that is in the catalogue.
pub(super) struct Last {
    /// What the catalogue calls that moment.
    pub(super) mark: u64,
    file: File,
}

impl Feed {
    pub(crate) fn new(machine: &Machine) -> Self {
        // Where there is no room on the disk there may be some in memory.
        let spool = unnamed_file(&machine.places.cache).or_else(|_| {
            let memory = memfd_create("catalogue", MemfdFlags::CLOEXEC)?;
            Ok::<_, io::Error>(File::from(memory))
        });
        let spool = spool.and_then(|file| {
            let mut spool = BufWriter::with_capacity(BUFFER_SIZE, file);
            spool.write_all(&[0; HEAD_SIZE])?;
            Ok(spool)
        });
        Self {
            spool: spool.ok(),
            last: Vec::new(),
            open: None,
            checksum: crc32fast::Hasher::new(),
            is_ordered: true,
        }
    }

    /// Whether the objects came in the order of paths: only then it can be compared with another one.
    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Looks at a step of the reading.
    pub(crate) fn see(&mut self, step: &Step) {
        match step {
            Step::Entry { entry, .. } => {
                self.close();
                self.open = Some(Arc::clone(entry));
            }
            Step::End(Ending::Failed(_)) => self.open = None,
            _ => {}
        }
    }

    /// Writes the object that was read.
    fn close(&mut self) {
        if let Some(entry) = self.open.take() {
            self.add(&entry);
        }
    }

    /// Writes an object.
    pub(super) fn add(&mut self, entry: &Entry) {
        let Some(spool) = &mut self.spool else {
            return;
        };
        let path = entry.path.as_bytes();
        self.is_ordered &= compare(&self.last, path).is_le();
        let mut bytes = Vec::with_capacity(64);
        let written = record(&mut bytes, &mut self.last, Object::from(entry))
            .and_then(|()| spool.write_all(&bytes));
        match written {
            Ok(()) => self.checksum.update(&bytes),
            Err(_) => self.spool = None,
        }
    }

    /// Ends the spool; says whether it holds everything.
    pub(crate) fn finish(&mut self) -> bool {
        self.close();
        let flushed = self.spool.as_mut().map(|spool| spool.flush().is_ok());
        flushed.unwrap_or(false)
    }

    /// Begins to read what was spooled.
    pub(super) fn read(&self) -> io::Result<Spooled<&File>> {
        Spooled::begin(self.spooled()?)
    }

    /// The spool, as far as it was written.
    fn spooled(&self) -> io::Result<&File> {
        let spool = self.spool.as_ref().map(BufWriter::get_ref);
        spool.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes a mark and the checksum into the spool, and gives it to compare the next one with.
    pub(super) fn marked(&self, mark: u64) -> io::Result<Last> {
        let file = self.spooled()?.try_clone()?;
        file.write_all_at(MAGIC, 0)?;
        file.write_all_at(&mark.to_le_bytes(), 8)?;
        let checksum = self.checksum.clone().finalize();
        file.write_all_at(&checksum.to_le_bytes(), 16)?;
        Ok(Last { mark, file })
    }
}

impl Last {
    /// Keeps the spool as that of the last run. That this fails costs time in the next run.
    pub(super) fn keep(&self, machine: &Machine) -> io::Result<()> {
        let last = last_file(machine);
        let kept = self.try_to_keep(machine, &last);
        if kept.is_err() {
            let _ = fs::remove_file(last);
        }
        kept
    }

    fn try_to_keep(&self, machine: &Machine, last: &PathBuf) -> io::Result<()> {
        let beside = machine.places.cache.join("catalogue.spool.new");
        let _ = fs::remove_file(&beside);
        // A file without a name gets one by way of its descriptor.
        let descriptor = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, descriptor, CWD, &beside, AtFlags::SYMLINK_FOLLOW)?;
        fs::rename(beside, last)
    }
}

/// The spool of the last run.
pub(super) fn last(machine: &Machine) -> Option<Last> {
    let file = File::open(last_file(machine)).ok()?;
    let mut head = [0; 16];
    file.read_exact_at(&mut head, 0).ok()?;
    let mark = head.strip_prefix(MAGIC)?.first_chunk()?;
    let mark = u64::from_le_bytes(*mark);
    Some(Last { mark, file })
}

fn last_file(machine: &Machine) -> PathBuf {
    machine.places.cache.join("catalogue.spool")
}

/// A spool that is being read.
pub(super) struct Spooled<F> {
    reader: Take<BufReader<F>>,
    path: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl<F: Read + Seek> Spooled<F> {
    pub(super) fn begin(mut file: F) -> io::Result<Self> {
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(HEAD_SIZE as u64))?;
        let reader = BufReader::with_capacity(BUFFER_SIZE, file);
        Ok(Self {
            reader: reader.take(end.saturating_sub(HEAD_SIZE as u64)),
            path: Vec::new(),
            checksum: crc32fast::Hasher::new(),
        })
    }

    /// The next object.
    pub(super) fn next(&mut self) -> io::Result<Option<Object<'_>>> {
        if self.reader.limit() == 0 {
            return Ok(None);
        }
        let mut fixed = [0; FIXED];
        self.reader.read_exact(&mut fixed)?;
        self.checksum.update(&fixed);
        let (lengths, state) = fixed.split_at(8);
        let length = |at: usize| {
            let bytes = lengths.get(at..).and_then(|rest| rest.first_chunk());
            let length = usize::try_from(u32::from_le_bytes(*bytes?)).ok();
            length.filter(|&length| length <= PATH_MAX)
        };
        let damaged = || io::Error::from(io::ErrorKind::InvalidData);
        let shared = length(0).filter(|&shared| shared <= self.path.len());
        let (shared, rest) = shared.zip(length(4)).ok_or_else(damaged)?;
        self.path.truncate(shared);
        self.path.resize(shared + rest, 0);
        let rest = self.path.get_mut(shared..).unwrap_or_default();
        self.reader.read_exact(rest)?;
        self.checksum.update(rest);
        let state = State::from_bytes(state).ok_or_else(damaged)?;
        let path = &self.path;
        Ok(Some(Object { path, state }))
    }
}

/// Hears of a path and its new state, or none where it is gone.
pub(super) type Tell<'a, E> = dyn FnMut(&[u8], Option<State>) -> Result<(), E> + 'a;

/// Hands out what differs between two spools whose objects come in the order of paths: the new state of
/// each path, or none where it is gone. Errors are those of reading, also when the older spool turns out
/// not to be whole or not in order: nothing of it may count then.
pub(super) fn differences<E: From<io::Error>>(
    older: &Last,
    newer: &Feed,
    tell: &mut Tell<'_, E>,
) -> Result<(), E> {
    let older = &older.file;
    let spooled = newer.spooled()?;
    if are_same(older, spooled)? {
        return Ok(());
    }
    let expected = {
        let mut bytes = [0; 4];
        older.read_exact_at(&mut bytes, 16)?;
        u32::from_le_bytes(bytes)
    };
    let mut older = Ordered::new(Spooled::begin(older)?);
    let mut newer = Ordered::new(Spooled::begin(spooled)?);
    older.advance()?;
    newer.advance()?;
    loop {
        let order = match (&older.state, &newer.state) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), Some(_)) => compare(&older.path, &newer.path),
        };
        match order {
            Ordering::Less => tell(&older.path, None)?,
            Ordering::Equal if older.state == newer.state => {}
            Ordering::Equal | Ordering::Greater => tell(&newer.path, newer.state)?,
        }
        if order.is_le() {
            older.advance()?;
        }
        if order.is_ge() {
            newer.advance()?;
        }
    }
    if older.spooled.checksum.finalize() != expected {
        return Err(io::Error::from(io::ErrorKind::InvalidData).into());
    }
    Ok(())
}

/// Whether two spools hold the same objects. Most runs find out so that nothing has changed, in a tenth
/// of the time that looking at each object takes.
fn are_same(one: &File, other: &File) -> io::Result<bool> {
    let size = one.metadata()?.len();
    if size != other.metadata()?.len() {
        return Ok(false);
    }
    let mut buffers = [vec![0; BUFFER_SIZE], vec![0; BUFFER_SIZE]];
    let mut at = HEAD_SIZE as u64;
    while at < size {
        let length = usize::try_from(size - at).map_or(BUFFER_SIZE, |left| left.min(BUFFER_SIZE));
        for (file, buffer) in [one, other].into_iter().zip(&mut buffers) {
            buffer.truncate(length);
            file.read_exact_at(buffer, at)?;
        }
        let [one, other] = &buffers;
        if one != other {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

/// A spool of which the present object is at hand.
struct Ordered<F> {
    spooled: Spooled<F>,
    path: Vec<u8>,
    state: Option<State>,
}

impl<F: Read + Seek> Ordered<F> {
    fn new(spooled: Spooled<F>) -> Self {
        Self {
            spooled,
            path: Vec::new(),
            state: None,
        }
    }

    /// Goes on to the next path.
    fn advance(&mut self) -> io::Result<()> {
        let is_first = self.state.is_none();
        match self.spooled.next()? {
            None => self.state = None,
            Some(object) => {
                if !is_first && compare(&self.path, object.path).is_ge() {
                    return Err(io::Error::from(io::ErrorKind::InvalidData));
                }
                self.path.clear();
                self.path.extend_from_slice(object.path);
                self.state = Some(object.state);
            }
        }
        Ok(())
    }
}

/// The order of paths by components: a `/` comes before every other byte.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let pairs = one.iter().zip(other);
    let differ = pairs.enumerate().find(|(_, (a, b))| a != b);
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match differ {
        Some((_, (&a, &b))) => rank(a).cmp(&rank(b)),
        None => one.len().cmp(&other.len()),
    }
}

fn record(bytes: &mut Vec<u8>, last: &mut Vec<u8>, object: Object<'_>) -> io::Result<()> {
    let path = object.path;
    let pairs = last.iter().zip(path);
    let shared = pairs.take_while(|(one, other)| one == other).count();
    let rest = path.get(shared..).unwrap_or_default();
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    for length in [shared, rest.len()] {
        let length = u32::try_from(length).map_err(too_long)?;
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.push(object.state.kind);
    bytes.extend_from_slice(&object.state.size.to_le_bytes());
    bytes.extend_from_slice(&object.state.modified.to_le_bytes());
    bytes.extend_from_slice(rest);
    last.truncate(shared);
    last.extend_from_slice(rest);
    Ok(())
}

impl State {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (size, modified) = rest.split_first_chunk()?;
        Some(Self {
            kind: *kind,
            size: u64::from_le_bytes(*size),
            modified: i64::from_le_bytes(*modified.first_chunk()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: State = State {
        kind: b'-',
        size: 7,
        modified: -1,
    };

    fn spooled(objects: &[(&[u8], State)]) -> io::Cursor<Vec<u8>> {
        let (mut bytes, mut last) = (vec![0; 24], Vec::new());
        for &(path, state) in objects {
            record(&mut bytes, &mut last, Object { path, state }).unwrap();
        }
        io::Cursor::new(bytes)
    }

    #[test]
    fn what_was_spooled_comes_back() {
        let large = State {
            kind: b'l',
            size: u64::MAX,
            modified: i64::MAX,
        };
        let objects: [(&[u8], State); 5] = [
            (b"etc", STATE),
            (b"home", large),
            (b"home/ada", STATE),
            (b"home/adam", large),
            (b"home/\xff\n", STATE),
        ];
        let mut spool = Spooled::begin(spooled(&objects)).unwrap();
        for (path, state) in objects {
            assert_eq!(spool.next().unwrap(), Some(Object { path, state }));
        }
        assert_eq!(spool.next().unwrap(), None);
        // A path that is too long is refused before there is memory for it.
        let mut bad = Spooled::begin(io::Cursor::new(vec![0xff; 100])).unwrap();
        assert!(bad.next().is_err());
    }

    #[test]
    fn spools_are_the_same_whatever_their_marks_say() {
        let file_of = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            file
        };
        for size in [
            HEAD_SIZE,
            HEAD_SIZE + 1,
            HEAD_SIZE + BUFFER_SIZE,
            HEAD_SIZE + 2 * BUFFER_SIZE + 1,
        ] {
            let bytes = vec![7; size];
            let one = file_of(&bytes);
            let mut marked = bytes.clone();
            marked[HEAD_SIZE - 1] = 1;
            assert!(are_same(&one, &file_of(&marked)).unwrap());
            assert!(!are_same(&one, &file_of(&[&bytes, &[7][..]].concat())).unwrap());
            if size > HEAD_SIZE {
                marked[size - 1] = 1;
                assert!(!are_same(&one, &file_of(&marked)).unwrap(), "{size}");
            }
        }
    }

    #[test]
    fn a_folder_comes_before_what_it_holds_and_that_before_its_neighbours() {
        let sorted: [&[u8]; 6] = [b"a", b"a/b", b"a/b/c", b"a/b!", b"a!", b"b"];
        for (number, one) in sorted.iter().enumerate() {
            for (other_number, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), number.cmp(&other_number));
                let [one, other] = [one, other].map(|path| tree::TreePath::new(path).unwrap());
                assert_eq!(one.cmp(&other), number.cmp(&other_number));
            }
        }
    }
}
