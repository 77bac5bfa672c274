//! Items from bytes.

use std::collections::BTreeMap;

use bstr::BString;

use super::{ChunkRef, Item};
use crate::Id;
use crate::msgpack::{Head, Malformed, Reader, fill, required};

/// Most extended attributes of one object. Linux lists 64 KiB of names at most.
const XATTRS_MAX: usize = 65_536;

/// Fewest bytes that a chunk takes in an item.
const CHUNK_ENCODED_SIZE: usize = 1 + 3 + 32 + 1 + 1;

impl Item {
    /// Reads one item, which must be all of `bytes`.
    ///
    /// Keys that are not understood are kept and written again.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is no map, has a key twice, lacks `path` or `mtime`, or has a value
    /// of the wrong kind.
    pub fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let r = &mut reader;
        let (mut path, mut mode, mut mtime) = (None, None, None);
        let (mut user, mut group) = (None, None);
        let mut xattrs = None;
        let mut item = Self::default();
        for _ in 0..r.map()? {
            match r.raw()? {
                b"path" => fill(&mut path, r.raw()?.into(), "path")?,
                b"mode" => fill(&mut mode, r.unsigned_32()?, "mode")?,
                b"mtime" => fill(&mut mtime, time(r)?, "mtime")?,
                b"uid" => fill(&mut item.uid, r.unsigned_32()?, "uid")?,
                b"gid" => fill(&mut item.gid, r.unsigned_32()?, "gid")?,
                b"user" => fill(&mut user, name(r)?, "user")?,
                b"group" => fill(&mut group, name(r)?, "group")?,
                b"ctime" => fill(&mut item.ctime, time(r)?, "ctime")?,
                b"atime" => fill(&mut item.atime, time(r)?, "atime")?,
                b"birthtime" => fill(&mut item.birthtime, time(r)?, "birthtime")?,
                b"size" => fill(&mut item.size, r.unsigned()?, "size")?,
                b"chunks" => fill(&mut item.chunks, chunks(r)?, "chunks")?,
                b"chunks_healthy" => {
                    fill(&mut item.chunks_healthy, chunks(r)?, "chunks_healthy")?;
                }
                b"source" => fill(&mut item.source, r.raw()?.into(), "source")?,
                b"hardlink_master" => {
                    fill(&mut item.hardlink_master, r.boolean()?, "hardlink_master")?;
                }
                b"rdev" => fill(&mut item.rdev, r.unsigned()?, "rdev")?,
                b"xattrs" => fill(&mut xattrs, read_xattrs(r)?, "xattrs")?,
                b"acl_access" => fill(&mut item.acl_access, r.raw()?.into(), "acl_access")?,
                b"acl_default" => fill(&mut item.acl_default, r.raw()?.into(), "acl_default")?,
                b"bsdflags" => fill(&mut item.bsdflags, r.unsigned()?, "bsdflags")?,
                b"part" => fill(&mut item.part, r.unsigned()?, "part")?,
                // Borg's ancestor up to 0.13 added this to every item, and it means nothing.
                b"acl" => r.skip()?,
                key => r.other(key, &mut item.others)?,
            }
        }
        r.end()?;
        item.path = required(path, "path")?;
        item.mode = mode.unwrap_or(0);
        item.mtime = required(mtime, "mtime")?;
        item.user = user.flatten();
        item.group = group.flatten();
        item.xattrs = xattrs.unwrap_or_default();
        Ok(item)
    }
}

/// The content of an item, without reading the rest of it; `None` when it has none. And whether a
/// repair has put zeros into it.
///
/// # Errors
///
/// [`Malformed`] when it is no map, or names its content twice or not as a list of chunks.
pub(crate) fn read_chunks(bytes: &[u8]) -> Result<(Option<Vec<ChunkRef>>, bool), Malformed> {
    let mut reader = Reader::new(bytes);
    let (mut content, mut is_repaired) = (None, false);
    for _ in 0..reader.map()? {
        match reader.raw()? {
            b"chunks" => fill(&mut content, chunks(&mut reader)?, "chunks")?,
            key => {
                is_repaired |= key == b"chunks_healthy";
                reader.skip()?;
            }
        }
    }
    Ok((content, is_repaired))
}

/// Nanoseconds. Numbers beyond 64 bits were written as their bytes, lowest first; they are
/// moved to the nearest moment that can be told.
fn time(reader: &mut Reader<'_>) -> Result<tree::Time, Malformed> {
    let start = reader.clone();
    let nanoseconds = match reader.head()? {
        Head::Unsigned(value) => i64::try_from(value).unwrap_or(i64::MAX),
        Head::Negative(value) => value,
        Head::Raw(length) => little_endian(reader.take(length)?),
        _ => return Err(start.unexpected("a time")),
    };
    Ok(tree::Time { nanoseconds })
}

/// A signed number of any length, lowest byte first.
fn little_endian(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|&highest| highest >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(8));
    let mut number = [fill; 8];
    number
        .iter_mut()
        .zip(low)
        .for_each(|(place, byte)| *place = *byte);
    let number = i64::from_le_bytes(number);
    if high.iter().all(|&byte| byte == fill) && (number < 0) == negative {
        number
    } else if negative {
        i64::MIN
    } else {
        i64::MAX
    }
}

fn name(reader: &mut Reader<'_>) -> Result<Option<BString>, Malformed> {
    if reader.nil() {
        return Ok(None);
    }
    Ok(Some(reader.raw()?.into()))
}

fn chunks(reader: &mut Reader<'_>) -> Result<Vec<ChunkRef>, Malformed> {
    let length = reader.array()?;
    if length > reader.rest().len() / CHUNK_ENCODED_SIZE {
        return Err(Malformed::Truncated);
    }
    let mut chunks = Vec::with_capacity(length);
    for _ in 0..length {
        let start = reader.clone();
        if reader.array()? != 3 {
            return Err(start.unexpected("id, size and stored size of a chunk"));
        }
        chunks.push(ChunkRef {
            id: Id(*reader.raw_array()?),
            size: reader.unsigned_32()?,
            csize: reader.unsigned_32()?,
        });
    }
    Ok(chunks)
}

fn read_xattrs(reader: &mut Reader<'_>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Malformed> {
    let start = reader.clone();
    let length = reader.map()?;
    if length > XATTRS_MAX {
        return Err(start.unexpected("fewer extended attributes"));
    }
    let mut xattrs = BTreeMap::new();
    for _ in 0..length {
        let name = reader.raw()?.to_vec();
        let value = match reader.nil() {
            true => Vec::new(),
            false => reader.raw()?.to_vec(),
        };
        if xattrs.insert(name, value).is_some() {
            return Err(Malformed::DuplicateKey { key: "xattrs" });
        }
    }
    Ok(xattrs)
}
