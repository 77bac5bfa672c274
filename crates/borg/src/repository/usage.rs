//! What the log holds beside the objects that count: the books for compaction and quota.
//!
//! The books are kept entry by entry, while a transaction writes, and again when the log is
//! replayed. Both ways lead to the same index, the same counts of live objects, the same quota
//! and the same shadow index. What can be freed differs a little: a replay counts DELETE and
//! COMMIT entries only in segments without any live object. That is so in the stock program too
//! and only influences when a segment is worth compacting.
//!
//! In a file they are the *hints*.

use std::collections::{BTreeMap, HashMap};

use super::entry::PUT_SIZE;
use crate::Id;
use crate::msgpack::{Malformed, Reader, Writer};

const VERSION: u64 = 2;

/// The books.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Live PUTs of each segment. Below zero only if index and books do not fit.
    pub(super) live: BTreeMap<u32, i64>,
    /// Bytes of each segment that compaction can free.
    pub(super) freeable: BTreeMap<u32, u64>,
    /// Bytes of all PUTs that are in the log, also of superseded ones until they are freed.
    pub(super) quota: u64,
    /// The segments in which superseded PUTs of an id stand. While one is in a segment below that
    /// of the DELETE, the DELETE must be kept, or the object would come back.
    pub(super) shadow: HashMap<Id, Vec<u32>>,
}

impl Usage {
    /// Counts a PUT that has been written.
    pub(super) fn put(&mut self, segment: u32, size: u32) {
        *self.live.entry(segment).or_default() += 1;
        self.quota += u64::from(size);
    }

    /// Counts that an entry in `segment` is superseded.
    pub(super) fn supersede(&mut self, id: &Id, segment: u32, size: u32) {
        self.shadow.entry(*id).or_default().push(segment);
        *self.live.entry(segment).or_default() -= 1;
        self.free(segment, size);
    }

    /// Counts a DELETE that has been written: it is of no use to a reader.
    pub(super) fn delete(&mut self, segment: u32) {
        self.live.entry(segment).or_default();
        self.free(segment, u32::try_from(PUT_SIZE).unwrap_or(u32::MAX));
    }

    pub(super) fn free(&mut self, segment: u32, size: u32) {
        *self.freeable.entry(segment).or_default() += u64::from(size);
    }

    /// Forgets segments that were never committed.
    pub(super) fn forget_after(&mut self, transaction: u32) {
        for segments in self.shadow.values_mut() {
            segments.retain(|&segment| segment <= transaction);
        }
    }

    /// The content of the file.
    pub(super) fn to_hints(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(
            64 + 10 * (self.live.len() + self.freeable.len()) + 48 * self.shadow.len(),
        );
        let mut writer = Writer::new(&mut out);
        writer.map(5);
        writer.raw("version");
        writer.unsigned(VERSION);
        writer.raw("segments");
        writer.map(self.live.len());
        for (segment, live) in &self.live {
            writer.unsigned((*segment).into());
            writer.signed(*live);
        }
        writer.raw("compact");
        writer.map(self.freeable.len());
        for (segment, bytes) in &self.freeable {
            writer.unsigned((*segment).into());
            writer.unsigned(*bytes);
        }
        writer.raw("storage_quota_use");
        writer.unsigned(self.quota);
        writer.raw("shadow_index");
        writer.map(self.shadow.len());
        for (id, segments) in &self.shadow {
            writer.raw(id.0);
            writer.array(segments.len());
            for segment in segments {
                writer.unsigned((*segment).into());
            }
        }
        out
    }

    /// Reads the file. `None` when its version is one that has to be computed anew.
    ///
    /// Two keys were added by later programs and may be missing.
    pub(super) fn from_hints(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut usage = Self::default();
        let mut version = None;
        let mut has_segments = false;
        let mut has_compact = false;
        let mut reader = Reader::new(bytes);
        for _ in 0..reader.map()? {
            match reader.raw()? {
                b"version" => {
                    let found = reader.unsigned()?;
                    if found != VERSION {
                        return Ok(None);
                    }
                    version = Some(found);
                }
                b"segments" => {
                    has_segments = true;
                    for _ in 0..reader.map()? {
                        let segment = reader.unsigned_32()?;
                        usage.live.insert(segment, reader.signed()?);
                    }
                }
                b"compact" => {
                    has_compact = true;
                    for _ in 0..reader.map()? {
                        let segment = reader.unsigned_32()?;
                        usage.freeable.insert(segment, reader.unsigned()?);
                    }
                }
                b"storage_quota_use" => usage.quota = reader.unsigned()?,
                b"shadow_index" => {
                    for _ in 0..reader.map()? {
                        let id = Id(*reader.raw_array()?);
                        let segments = (0..reader.array()?).map(|_| reader.unsigned_32());
                        usage.shadow.insert(id, segments.collect::<Result<_, _>>()?);
                    }
                }
                _ => reader.skip()?,
            }
        }
        reader.end()?;
        let missing = |key| Malformed::MissingKey { key };
        version.ok_or_else(|| missing("version"))?;
        has_segments.then_some(()).ok_or(missing("segments"))?;
        has_compact.then_some(()).ok_or(missing("compact"))?;
        Ok(Some(usage))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        let mut usage = Usage::default();
        usage.put(3, 100);
        usage.put(3, 50);
        usage.supersede(&Id([1; 32]), 3, 100);
        usage.delete(4);
        usage
    }

    #[test]
    fn the_books_survive_their_file() {
        let usage = usage();
        assert_eq!(usage.live, BTreeMap::from([(3, 1), (4, 0)]));
        assert_eq!(usage.freeable, BTreeMap::from([(3, 100), (4, 41)]));
        assert_eq!(usage.quota, 150);
        assert_eq!(Usage::from_hints(&usage.to_hints()), Ok(Some(usage)));
    }

    #[test]
    fn damaged_hints_are_refused_or_read_but_never_panic() {
        let hints = usage().to_hints();
        for length in 0..hints.len() {
            assert!(Usage::from_hints(&hints[..length]).is_err(), "{length}");
        }
        for at in 0..hints.len() {
            for bit in 0..8 {
                let mut damaged = hints.clone();
                damaged[at] ^= 1 << bit;
                let _ = Usage::from_hints(&damaged);
            }
        }
    }

    #[test]
    fn another_version_is_computed_anew() {
        assert_eq!(Usage::from_hints(b"\x82\xa7version\x01\xa1a\x90"), Ok(None));
    }

    #[test]
    fn what_was_never_committed_is_forgotten() {
        let mut usage = usage();
        usage.supersede(&Id([1; 32]), 9, 1);
        usage.forget_after(8);
        assert_eq!(usage.shadow[&Id([1; 32])], [3]);
    }
}
