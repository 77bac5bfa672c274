//! The items of one archive, read again one by one.

use crate::{Archive, Archives, Id, Item};

use super::content::Cache;

/// Where an item stands in the stream of its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: u32,
}

/// The stream of items of one archive.
#[derive(Debug)]
pub(super) struct ItemStore {
    chunks: Vec<Id>,
    /// Where each chunk begins in the stream.
    starts: Vec<u64>,
}

impl ItemStore {
    pub(super) fn new(archive: &Archive) -> Self {
        Self {
            chunks: archive.items.clone(),
            starts: Vec::with_capacity(archive.items.len()),
        }
    }

    /// Says where the next chunk begins.
    pub(super) fn add_start(&mut self, offset: u64) {
        self.starts.push(offset);
    }

    /// Reads an item again. `None` when it cannot be read any more.
    pub(super) fn item(&self, archives: &Archives, cache: &Cache, at: Place) -> Option<Item> {
        let mut index = self.starts.partition_point(|start| *start <= at.offset);
        index = index.checked_sub(1)?;
        let mut bytes = Vec::with_capacity(usize::try_from(at.length).ok()?);
        let mut skip = usize::try_from(at.offset - self.starts.get(index)?).ok()?;
        while bytes.len() < bytes.capacity() {
            let wanted = bytes.capacity() - bytes.len();
            let id = self.chunks.get(index)?;
            cache.with(archives, id, |plain| {
                let rest = plain.get(skip..).unwrap_or_default();
                bytes.extend_from_slice(rest.get(..wanted.min(rest.len())).unwrap_or_default());
            })?;
            skip = 0;
            index += 1;
        }
        Item::read(&bytes).ok()
    }
}
