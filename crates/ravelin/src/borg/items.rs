//! The items of an archive that a command is about, with the content of those that are further
//! names of a file.
//!
//! When the first name of a file is not among them, the first of its further names that is takes
//! its place.

use std::collections::HashMap;

use borg::{Archive, Archives, ChunkRef, Error, Item};
use bstr::{BString, ByteSlice};

use super::fail::Failure;
use super::matcher::Matcher;
use super::session::Session;

/// Which items, and under which paths.
pub(crate) struct Choice<'a> {
    pub(crate) matcher: &'a Matcher,
    /// So many names are taken from the front.
    pub(crate) strip: usize,
    /// Whether parts of files are items, too.
    pub(crate) with_parts: bool,
}

/// An item that was chosen.
pub(crate) struct Chosen {
    /// Under its new path; a further name of a file names the new path of the first.
    pub(crate) item: Item,
    /// The path that it has in the archive.
    pub(crate) path: BString,
    /// Bytes of the content, of further names too.
    pub(crate) size: u64,
    /// It says that it is a further name of something that the archive does not have.
    pub(crate) is_orphan: bool,
}

/// A first name that was met.
struct First {
    /// Its new path, when it was chosen.
    chosen: Option<BString>,
    chunks: Option<Vec<ChunkRef>>,
    chunks_healthy: Option<Vec<ChunkRef>>,
    size: u64,
}

const KIND: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;

/// Whether an item's source is the first name of its file.
pub(crate) fn is_further_name(item: &Item) -> bool {
    item.source.is_some() && item.mode & KIND != SYMLINK
}

/// Whether later items may be further names of this one. Archives of old do not say.
pub(crate) fn may_have_further_names(item: &Item) -> bool {
    let is_linkable = !matches!(item.mode & KIND, SYMLINK | DIRECTORY);
    is_linkable && item.source.is_none() && item.hardlink_master != Some(false)
}

/// Hands what was chosen of an archive to `receive`, in order.
pub(crate) fn chosen(
    session: &Session,
    archives: &Archives,
    archive: &Archive,
    choice: &Choice<'_>,
    mut receive: impl FnMut(Chosen) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut firsts: HashMap<BString, First> = HashMap::new();
    let mut failed = None;
    let listed = archives.items(archive, |item| {
        let step = || -> Result<(), Failure> {
            session.go_on()?;
            if item.part.is_some() && !choice.with_parts {
                return Ok(());
            }
            let mut item = item;
            let path = item.path.clone();
            let new_path = match choice.matcher.matches(&path) {
                true => stripped(&path, choice.strip),
                false => None,
            };
            let mut size = item.content_size();
            if may_have_further_names(&item) {
                let needs_content = new_path.is_none();
                let first = First {
                    chosen: new_path.clone(),
                    chunks: item.chunks.clone().filter(|_| needs_content),
                    chunks_healthy: item.chunks_healthy.clone().filter(|_| needs_content),
                    size,
                };
                firsts.insert(path.clone(), first);
            }
            let Some(new_path) = new_path else {
                return Ok(());
            };
            let mut is_orphan = false;
            if is_further_name(&item)
                && let Some(first) = item
                    .source
                    .as_ref()
                    .and_then(|source| firsts.get_mut(source))
            {
                size = first.size;
                match &first.chosen {
                    Some(source) => item.source = Some(source.clone()),
                    None => {
                        item.source = None;
                        item.hardlink_master = Some(true);
                        item.chunks = first.chunks.take();
                        item.chunks_healthy = first.chunks_healthy.take();
                        first.chosen = Some(new_path.clone());
                    }
                }
            } else {
                is_orphan = is_further_name(&item);
            }
            item.path = new_path;
            receive(Chosen {
                item,
                path,
                size,
                is_orphan,
            })
        };
        step().map_err(|failure| {
            failed = Some(failure);
            Error::Stopped
        })
    });
    match (failed, listed) {
        (Some(failure), _) => Err(failure),
        (None, listed) => Ok(listed?),
    }
}

/// The path without so many names in front; `None` when nothing is left.
pub(crate) fn stripped(path: &BString, count: usize) -> Option<BString> {
    if count == 0 {
        return Some(path.clone());
    }
    let mut names = path.split_str("/");
    for _ in 0..count {
        names.next()?;
    }
    let rest: Vec<&[u8]> = names.collect();
    (!rest.is_empty()).then(|| bstr::join("/", rest).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_from_the_front() {
        let path = BString::from("a/b/c");
        for (count, left) in [
            (0, Some("a/b/c")),
            (1, Some("b/c")),
            (2, Some("c")),
            (3, None),
        ] {
            assert_eq!(stripped(&path, count), left.map(BString::from), "{count}");
        }
    }
}
