//! Makes an archive anew out of itself: without some of its files, cut or compressed in another
//! way.
//!
//! The new archive is written completely, then it takes the place of the former one in the
//! manifest, and what only that one used is deleted: all in one transaction. A chunk that is
//! compressed anew keeps its id, so other archives that use it are served by the new one too, and a
//! chunk of several archives that are made anew one after the other is compressed once.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString};
use jiff::Timestamp as Moment;

use super::{Archives, salt};
use crate::chunk_index::ChunkIndex;
use crate::compress::Method;
use crate::item_stream::ItemStream;
use crate::sealer::Sealer;
use crate::uses::Uses;
use crate::{
    Archive, ArchiveEntry, Chunk, ChunkRef, Chunker, ChunkerParams, Compression, Compressor, Error,
    Host, Id, Item, ItemReader, Object, Operation, Timestamp, Totals, frame_put,
};

/// How an archive is made anew.
pub struct Recreate<'a> {
    /// Says which items stay.
    pub keep: &'a dyn Fn(&Item) -> bool,
    /// Cut files so; `None`: leave the chunks as they are.
    pub chunker_params: Option<ChunkerParams>,
    /// Compress new chunks so.
    pub compression: Compression,
    /// Whether the chunks that stay are compressed in that way, too.
    pub recompress: Recompress,
    /// Another comment.
    pub comment: Option<BString>,
    /// Another time, of its beginning and its end.
    pub time: Option<Moment>,
    /// The name of the new archive, beside the former one; `None`: in its place.
    pub target: Option<BString>,
    /// What was typed.
    pub cmdline: Vec<BString>,
}

/// Which of the chunks that stay are compressed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recompress {
    /// None.
    #[default]
    Never,
    /// Those that another method has compressed; the level does not matter.
    IfDifferent,
    /// All.
    Always,
}

impl Archives {
    /// Makes an archive anew.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`], [`Error::ArchiveExists`] for the target; what cannot be read of the
    /// archive, and those of writing. Nothing has changed then.
    pub fn recreate(
        &mut self,
        name: &BStr,
        options: &Recreate<'_>,
        host: &Host,
        now: Moment,
    ) -> Result<Totals, Error> {
        self.manifest.check_features(Operation::Write)?;
        let former = self.manifest.archives.get(name).cloned();
        let former = former.ok_or_else(|| Error::NoArchive { name: name.into() })?;
        if let Some(target) = &options.target
            && self.manifest.archives.contains_key(target)
        {
            let name = target.clone();
            return Err(Error::ArchiveExists { name });
        }
        let mut uses = Uses::new(self);
        let archive = uses.add(&former.id)?.archive;
        let former_uses: Vec<_> = match options.target {
            Some(_) => Vec::new(),
            None => uses.iter().collect(),
        };
        let mut cache = self.cache(host)?;
        let index = cache.take_chunks();
        let sealer = self.sealer(options.compression.clone());
        let params = options
            .chunker_params
            .filter(|params| archive.chunker_params != Some(*params));
        let how = (options.recompress, options.compression.clone());
        let recompressed = self.recompressed.take();
        let recompressed = recompressed.filter(|(former, _)| *former == how);
        let mut maker = Maker {
            compressor: sealer.compressor()?,
            items: ItemStream::new(self.key.chunk_seed()),
            chunker: params.map(|params| Chunker::new(params, self.key.chunk_seed())),
            sealer: &sealer,
            options,
            moved: HashMap::new(),
            recompressed: recompressed.map_or_else(HashSet::new, |(_, chunks)| chunks),
            totals: Totals::default(),
        };
        let totals = self.change(&mut cache, index, &sealer, now, |archives, index| {
            maker.items(archives, index, &archive)?;
            let id = maker.finish(archives, index, &archive, name)?;
            let time = options.time.map_or(former.time.clone(), Timestamp::new);
            let target = options.target.clone().unwrap_or_else(|| name.into());
            archives
                .manifest
                .archives
                .insert(target, ArchiveEntry { id, time });
            let mut unused = Vec::new();
            for former in former_uses {
                if index.remove_references(&former.chunk.id, former.count) {
                    unused.push(former.chunk.id);
                }
            }
            archives.delete_all(unused)?;
            Ok(maker.totals)
        })?;
        self.recompressed = Some((how, maker.recompressed));
        Ok(totals)
    }
}

/// Files whose first name does not stay: what they were, until a further name takes it over, and
/// its path from then on.
type Moved = HashMap<BString, Result<BString, Box<Item>>>;

struct Maker<'a> {
    sealer: &'a Sealer,
    compressor: Compressor,
    options: &'a Recreate<'a>,
    items: ItemStream,
    /// For files that are cut anew.
    chunker: Option<Chunker>,
    moved: Moved,
    recompressed: HashSet<Id>,
    totals: Totals,
}

impl Maker<'_> {
    fn items(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        archive: &Archive,
    ) -> Result<(), Error> {
        let damaged = |source| Error::Items { source };
        let mut reader = ItemReader::new();
        for id in &archive.items {
            reader.push(&archives.read(id)?);
            while let Some(item) = reader.next_item().map_err(damaged)? {
                if let Some(item) = selected(self.options, &mut self.moved, item) {
                    self.item(archives, index, item)?;
                }
            }
        }
        reader.finish().map_err(damaged)
    }

    fn item(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        mut item: Item,
    ) -> Result<(), Error> {
        if let Some(chunks) = item.chunks.take() {
            // What a repair has put zeros into keeps its cuts, or it could not be healed.
            let chunks = match (&self.chunker, &item.chunks_healthy) {
                (Some(_), None) => self.cut(archives, index, &chunks)?,
                _ => self.keep(archives, index, &chunks)?,
            };
            match item.part {
                Some(_) => self.totals.add_parts(&chunks, 1),
                None => self.totals.add_file(&chunks),
            }
            item.chunks = Some(chunks);
        }
        let Self {
            items,
            sealer,
            compressor,
            ..
        } = self;
        items.add(|out| item.write(out), &mut |plains| {
            archives.store_many(plains, sealer, compressor, index)
        })
    }

    /// The same chunks, used once more.
    fn keep(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        chunks: &[ChunkRef],
    ) -> Result<Vec<ChunkRef>, Error> {
        let mut kept = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            index.use_known(&chunk.id)?;
            self.recompress(archives, index, &chunk.id)?;
            kept.push(index.reference(&chunk.id)?);
        }
        Ok(kept)
    }

    /// Compresses a chunk anew, once, if that is asked for.
    fn recompress(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        id: &Id,
    ) -> Result<(), Error> {
        let how = self.options.recompress;
        if how == Recompress::Never || !self.recompressed.insert(*id) {
            return Ok(());
        }
        let stored = archives.repository.get(id)?;
        let method = archives.key.method_of(&stored);
        let method = method.filter(|_| how == Recompress::IfDifferent);
        if method.is_some() && method == self.options.compression.method() {
            return Ok(());
        }
        let plain = archives.open_stored(id, &stored)?;
        self.write(archives, index, id, &plain, method)
    }

    /// Other chunks with the same content.
    fn cut(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        chunks: &[ChunkRef],
    ) -> Result<Vec<ChunkRef>, Error> {
        let mut cut = Vec::new();
        let mut queue: Vec<Chunk> = Vec::new();
        for chunk in chunks {
            let plain = archives.read(&chunk.id)?;
            if let Some(chunker) = &mut self.chunker {
                chunker.push(&plain, &mut |chunk| queue.push(chunk));
            }
            for chunk in queue.drain(..) {
                cut.push(self.new_chunk(archives, index, chunk)?);
            }
        }
        if let Some(chunker) = &mut self.chunker {
            chunker.finish(&mut |chunk| queue.push(chunk));
        }
        for chunk in queue {
            cut.push(self.new_chunk(archives, index, chunk)?);
        }
        Ok(cut)
    }

    fn new_chunk(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        chunk: Chunk,
    ) -> Result<ChunkRef, Error> {
        let plain = match chunk {
            Chunk::Data(bytes) => bytes,
            Chunk::Zeros(size) => vec![0; size],
        };
        let id = archives.store(&plain, self.sealer, &mut self.compressor, index)?;
        index.reference(&id)
    }

    /// Writes a chunk in place of the one that is there, unless that turns out to be compressed by
    /// the same method: what cannot be compressed is stored as it is by each.
    fn write(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        id: &Id,
        plain: &[u8],
        former: Option<Method>,
    ) -> Result<(), Error> {
        let mut objects = [Object::new()];
        for object in &mut objects {
            self.sealer.pack(plain, &mut self.compressor, object)?;
            if former.is_some() && object.method() == former {
                return Ok(());
            }
        }
        self.sealer.seal_many(&mut objects)?;
        for object in &mut objects {
            index.set_csize(id, object.stored().len());
            frame_put(object.entry_mut(), id);
            archives.put(object.entry_mut())?;
        }
        Ok(())
    }

    /// Stores the archive object.
    fn finish(
        &mut self,
        archives: &mut Archives,
        index: &mut ChunkIndex,
        former: &Archive,
        name: &BStr,
    ) -> Result<Id, Error> {
        let Self {
            items,
            sealer,
            compressor,
            options,
            ..
        } = self;
        let ids =
            items.flush(&mut |plains| archives.store_many(plains, sealer, compressor, index))?;
        let mut archive = former.clone();
        archive.items = ids.to_vec();
        archive.name = options.target.clone().unwrap_or_else(|| name.to_owned());
        archive.recreate_cmdline = Some(options.cmdline.clone());
        if options.comment.is_some() {
            archive.comment.clone_from(&options.comment);
        }
        if let Some(time) = options.time {
            archive.time = Timestamp::new(time);
            archive.time_end = Some(Timestamp::new(time));
        }
        if options.chunker_params.is_some() {
            archive.chunker_params = options.chunker_params;
        }
        archive.totals = Some(self.totals);
        let packed = archive.pack(&archives.key, &salt()?);
        archives.store(&packed, self.sealer, &mut self.compressor, index)
    }
}

/// The item if it stays; a further name of a file that does not stay becomes its first.
fn selected(options: &Recreate<'_>, moved_files: &mut Moved, mut item: Item) -> Option<Item> {
    let stays = (options.keep)(&item);
    if item.hardlink_master == Some(true) {
        if !stays {
            moved_files.insert(item.path.clone(), Err(Box::new(item)));
            return None;
        }
        return Some(item);
    }
    if !stays {
        return None;
    }
    // Only a symbolic link has a source that is no further name.
    let is_link = item.mode & 0o170_000 == 0o120_000;
    if let (Some(source), false) = (&item.source, is_link)
        && let Some(moved) = moved_files.get_mut(source)
    {
        match moved {
            Ok(path) => item.source = Some(path.clone()),
            Err(first) => {
                item.chunks = first.chunks.take();
                item.chunks_healthy = first.chunks_healthy.take();
                item.size = first.size;
                item.source = None;
                item.hardlink_master = Some(true);
                *moved = Ok(item.path.clone());
            }
        }
    }
    Some(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_name_takes_over_what_the_first_one_was() {
        let file = |path: &str, source: Option<&str>| Item {
            path: path.into(),
            mode: 0o100_644,
            source: source.map(Into::into),
            hardlink_master: source.is_none().then_some(true),
            chunks: source.is_none().then(Vec::new),
            ..Item::default()
        };
        let without_first = |item: &Item| item.path != "first";
        let options = Recreate {
            keep: &without_first,
            chunker_params: None,
            compression: Compression::Lz4,
            recompress: Recompress::Never,
            comment: None,
            time: None,
            target: None,
            cmdline: Vec::new(),
        };
        let mut moved = HashMap::new();
        let mut select = |item: Item| selected(&options, &mut moved, item);
        assert_eq!(select(file("first", None)), None);
        let second = select(file("second", Some("first"))).unwrap();
        assert_eq!((second.source, second.chunks), (None, Some(Vec::new())));
        assert_eq!(second.hardlink_master, Some(true));
        let third = select(file("third", Some("first"))).unwrap();
        assert_eq!(third.source, Some("second".into()));
    }
}
