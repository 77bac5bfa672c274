//! Items as bytes.

use super::{ChunkRef, Item};
use crate::msgpack::{MapWriter, Writer};

/// Latest moment that Borg writes, in nanoseconds: two days before 32-bit seconds end, in 2038.
///
/// Source: `MAX_NS` in Borg 1.4's `helpers/time.py`.
const TIME_MAX: i64 = ((1 << 31) - 1 - 48 * 3600) * 1_000_000_000;

impl Item {
    /// Adds the item to a stream of items.
    ///
    /// Equal items give equal bytes, the same as the stock program's. Times before 1970 or
    /// after 2038 are moved to these limits, as it does.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut map = MapWriter::new(out, &self.others);
        let raw = |map: &mut MapWriter<'_>, key, value: &Option<_>| {
            if let Some(value) = value {
                map.key(key).raw(value);
            }
        };
        let number = |map: &mut MapWriter<'_>, key, value: Option<u64>| {
            if let Some(value) = value {
                map.key(key).unsigned(value);
            }
        };
        let time = |map: &mut MapWriter<'_>, key, value: Option<tree::Time>| {
            if let Some(value) = value {
                map.key(key).signed(value.nanoseconds.clamp(0, TIME_MAX));
            }
        };
        let name = |map: &mut MapWriter<'_>, key, value: &Option<_>| match value {
            Some(value) => map.key(key).raw(value),
            None => map.key(key).nil(),
        };
        raw(&mut map, "acl_access", &self.acl_access);
        raw(&mut map, "acl_default", &self.acl_default);
        time(&mut map, "atime", self.atime);
        time(&mut map, "birthtime", self.birthtime);
        number(&mut map, "bsdflags", self.bsdflags);
        chunks(&mut map, "chunks", self.chunks.as_deref());
        chunks(&mut map, "chunks_healthy", self.chunks_healthy.as_deref());
        time(&mut map, "ctime", self.ctime);
        number(&mut map, "gid", self.gid.map(u64::from));
        name(&mut map, "group", &self.group);
        if let Some(master) = self.hardlink_master {
            map.key("hardlink_master").boolean(master);
        }
        number(&mut map, "mode", Some(u64::from(self.mode)));
        time(&mut map, "mtime", Some(self.mtime));
        number(&mut map, "part", self.part);
        map.key("path").raw(&self.path);
        number(&mut map, "rdev", self.rdev);
        number(&mut map, "size", self.size);
        raw(&mut map, "source", &self.source);
        number(&mut map, "uid", self.uid.map(u64::from));
        name(&mut map, "user", &self.user);
        if !self.xattrs.is_empty() {
            xattrs(map.key("xattrs"), &self.xattrs);
        }
        map.finish();
    }
}

fn chunks(map: &mut MapWriter<'_>, key: &str, chunks: Option<&[ChunkRef]>) {
    let Some(chunks) = chunks else {
        return;
    };
    let mut w = map.key(key);
    w.array(chunks.len());
    for chunk in chunks {
        w.array(3);
        w.raw(chunk.id.0);
        w.unsigned(u64::from(chunk.size));
        w.unsigned(u64::from(chunk.csize));
    }
}

/// An attribute without content is written as if it had no value at all.
fn xattrs(mut w: Writer<'_>, xattrs: &std::collections::BTreeMap<Vec<u8>, Vec<u8>>) {
    w.map(xattrs.len());
    for (name, value) in xattrs {
        w.raw(name);
        if value.is_empty() {
            w.nil();
        } else {
            w.raw(value);
        }
    }
}
