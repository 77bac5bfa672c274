//! From an archive to a tar file.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bstr::BString;
use tar::EntryType;

use super::header::{Member, write_end, write_padding};
use super::{ACL_ACCESS, ACL_DEFAULT, META, META_VERSION, TarForm, VERSION, XATTR};
use crate::{Archive, Archives, ChunkRef, Error, Item};

/// Chunks that are named ahead, so that a connection is never idle.
const AHEAD: usize = 256;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Members that were written.
    pub members: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// What a tar file has no form for, and why.
    pub left_out: Vec<(BString, String)>,
}

/// Writes an archive, or what `select` takes of it, as a tar file.
///
/// `select` may change the path: a further name of a file that is written under another name, or
/// not at all, becomes the first with its content, or a link to that name.
///
/// # Errors
///
/// [`Error::Tar`] when the output cannot be written. [`Error::Object`], [`Error::ObjectNotFound`],
/// [`Error::ChunkSize`] when content is damaged: what was written is not a whole tar file then.
pub fn export_tar(
    archives: &Archives,
    archive: &Archive,
    form: TarForm,
    mut select: impl FnMut(&mut Item) -> bool,
    output: impl Write,
) -> Result<Exported, Error> {
    let mut export = Export {
        archives,
        form,
        output,
        first_names: HashMap::new(),
        exported: Exported::default(),
    };
    archives.items(archive, |mut item| {
        if item.part.is_some() {
            return Ok(());
        }
        let stored_path = item.path.clone();
        let is_selected = select(&mut item);
        export.add(item, &stored_path, is_selected)
    })?;
    write_end(&mut export.output)
        .and_then(|()| export.output.flush())
        .map_err(|source| Error::Tar { source })?;
    Ok(export.exported)
}

/// The first name of an object that may have several.
enum First {
    /// It is in the tar file, under this name.
    Written(BString),
    /// It was not selected.
    Content(Arc<Item>),
}

struct Export<'a, W> {
    archives: &'a Archives,
    form: TarForm,
    output: W,
    /// By their paths in the archive.
    first_names: HashMap<BString, First>,
    exported: Exported,
}

impl<W: Write> Export<'_, W> {
    fn add(&mut self, mut item: Item, path: &BString, is_selected: bool) -> Result<(), Error> {
        let kind = item.mode & 0o170_000;
        let is_file = kind == 0o100_000;
        let can_be_linked = !matches!(kind, 0o040_000 | 0o120_000);
        let mut link = None;
        if can_be_linked {
            match item.source.take() {
                Some(source) if is_selected => match self.first_names.get(&source) {
                    Some(First::Written(name)) => link = Some(name.clone()),
                    Some(First::Content(first)) => {
                        item.chunks.clone_from(&first.chunks);
                        item.size = first.size;
                        item.rdev = first.rdev;
                        item.hardlink_master = Some(true);
                        let name = First::Written(item.path.clone());
                        self.first_names.insert(source, name);
                    }
                    None => {
                        let why = format!("the name `{source}`, which has its content, is missing");
                        self.exported.left_out.push((item.path, why));
                        return Ok(());
                    }
                },
                Some(_) => {}
                // An older program did not say whether others may follow.
                None if item.hardlink_master != Some(false) => {
                    let first = match is_selected {
                        true => First::Written(item.path.clone()),
                        false => First::Content(Arc::new(item.clone())),
                    };
                    self.first_names.insert(path.clone(), first);
                }
                None => {}
            }
        }
        if !is_selected {
            return Ok(());
        }
        let kind = match kind {
            _ if link.is_some() => EntryType::Link,
            0o100_000 => EntryType::Regular,
            0o040_000 => EntryType::Directory,
            0o120_000 => EntryType::Symlink,
            0o060_000 => EntryType::Block,
            0o020_000 => EntryType::Char,
            0o010_000 => EntryType::Fifo,
            _ => {
                let why = format!("mode {:#o} is of no kind that a tar file has", item.mode);
                self.exported.left_out.push((item.path, why));
                return Ok(());
            }
        };
        let has_content = is_file && link.is_none();
        let chunks = item.chunks.take().filter(|_| has_content);
        let chunks = chunks.unwrap_or_default();
        let size = chunks.iter().map(|chunk| u64::from(chunk.size)).sum();
        self.write_header(&item, kind, link.as_ref(), size)?;
        self.write_content(&chunks)?;
        write_padding(size, &mut self.output).map_err(|source| Error::Tar { source })?;
        self.exported.members += 1;
        self.exported.bytes += size;
        Ok(())
    }

    fn write_header(
        &mut self,
        item: &Item,
        kind: EntryType,
        link: Option<&BString>,
        size: u64,
    ) -> Result<(), Error> {
        let target = match kind {
            EntryType::Symlink => item.source.as_ref(),
            _ => link,
        };
        let mut path = item.path.to_vec();
        if kind == EntryType::Directory && !path.ends_with(b"/") {
            // As every tar program writes it.
            path.push(b'/');
        }
        let name = |name: &'_ Option<BString>| name.clone().unwrap_or_default();
        let (user, group) = (name(&item.user), name(&item.group));
        let nanoseconds = item.mtime.nanoseconds.max(0).cast_unsigned();
        let rdev = item.rdev.unwrap_or_default();
        let is_device = matches!(kind, EntryType::Block | EntryType::Char);
        let member = Member {
            kind,
            path: &path,
            link: target.map_or(&b""[..], |target| target.as_slice()),
            mode: item.mode & 0o7777,
            uid: item.uid.unwrap_or_default().into(),
            gid: item.gid.unwrap_or_default().into(),
            user: &user,
            group: &group,
            mtime: nanoseconds / 1_000_000_000,
            size,
            device: is_device.then(|| (rustix::fs::major(rdev), rustix::fs::minor(rdev))),
        };
        let written = match self.form {
            TarForm::Gnu => member.write_gnu(&mut self.output),
            TarForm::Pax => member.write_pax(records(item), &mut self.output),
            TarForm::Borg => {
                let mut records = records(item);
                let mut whole = Item {
                    source: target.cloned(),
                    ..item.clone()
                };
                whole.chunks_healthy = None;
                let mut meta = Vec::new();
                whole.write(&mut meta);
                records.push((META_VERSION.into(), VERSION.into()));
                records.push((META.into(), STANDARD.encode(meta).into_bytes()));
                member.write_pax(records, &mut self.output)
            }
        };
        written.map_err(|source| Error::Tar { source })
    }

    fn write_content(&mut self, chunks: &[ChunkRef]) -> Result<(), Error> {
        for (index, chunk) in chunks.iter().enumerate() {
            if index % AHEAD == 0 {
                let end = chunks.len().min(index + AHEAD);
                let ahead = chunks.get(index..end).unwrap_or_default();
                self.archives.prefetch(ahead);
            }
            let plain = self.archives.read(&chunk.id)?;
            if plain.len() as u64 != u64::from(chunk.size) {
                return Err(Error::ChunkSize {
                    id: chunk.id,
                    known: chunk.size,
                    found: u32::try_from(plain.len()).unwrap_or(u32::MAX),
                });
            }
            self.output
                .write_all(&plain)
                .map_err(|source| Error::Tar { source })?;
        }
        Ok(())
    }
}

/// The PAX records of what has no field.
fn records(item: &Item) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    for (key, time) in [
        ("mtime", Some(item.mtime)),
        ("atime", item.atime),
        ("ctime", item.ctime),
    ] {
        if let Some(time) = time {
            records.push((key.to_owned(), seconds(time).into_bytes()));
        }
    }
    for (key, acl) in [
        (ACL_ACCESS, &item.acl_access),
        (ACL_DEFAULT, &item.acl_default),
    ] {
        if let Some(acl) = acl {
            records.push((key.to_owned(), acl.to_vec()));
        }
    }
    for (name, value) in &item.xattrs {
        // A name that is no text cannot be a key. None is, in practice.
        if let Ok(name) = std::str::from_utf8(name) {
            let name = name.replace('%', "%25").replace('=', "%3D");
            records.push((format!("{XATTR}{name}"), value.clone()));
        }
    }
    records
}

/// `1700000000.000000001`
fn seconds(time: tree::Time) -> String {
    let (sign, nanoseconds) = match time.nanoseconds {
        negative @ ..0 => ("-", negative.unsigned_abs()),
        nanoseconds => ("", nanoseconds.unsigned_abs()),
    };
    let (whole, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let rest = format!("{rest:09}");
    format!("{sign}{whole}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_nanosecond() {
        for (nanoseconds, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_700_000_000_500_000_000, "1700000000.5"),
            (-1_500_000_000, "-1.5"),
        ] {
            assert_eq!(seconds(tree::Time { nanoseconds }), text);
        }
    }
}
