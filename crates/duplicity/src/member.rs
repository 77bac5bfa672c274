//! What one member of a volume or of a signature file says: which object, and what about it.

use std::sync::Arc;

use tree::{BadPath, DeviceNumber, Entry, EntryKind, Time, TreePath};

use crate::tar::{TarHeader, TarKind};

/// What a member brings about its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// The object anew. A regular file's content is the data.
    Snapshot,
    /// A librsync delta to the file's state before.
    Diff,
    /// The object is gone.
    Deleted,
    /// A librsync signature of the file; in signature files only.
    Signature,
}

/// A member's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberName {
    /// What it brings.
    pub kind: MemberKind,
    /// Which object.
    pub path: TreePath,
    /// When the data comes in blocks: which one, from 1.
    pub block: Option<u64>,
}

/// Why a member cannot be used. Its neighbours can.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMember {
    /// The name starts with none of the known words.
    #[error("the member is of no known kind")]
    Prefix,
    /// The path behind the word leads elsewhere.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// A block without a number.
    #[error("a block of a file without a number")]
    Block,
    /// Hard links are not part of the format.
    #[error("a tar hard link, which duplicity never writes")]
    HardLink,
    /// A type that no backup has.
    #[error("a tar member of an unknown type")]
    Type,
}

impl MemberName {
    /// Takes the name of a member apart.
    ///
    /// # Errors
    ///
    /// [`BadMember`] when duplicity would not have written it.
    pub fn parse(name: &[u8]) -> Result<Self, BadMember> {
        let words: [(&[u8], _, _); 6] = [
            (b"snapshot/", MemberKind::Snapshot, false),
            (b"diff/", MemberKind::Diff, false),
            (b"deleted/", MemberKind::Deleted, false),
            (b"signature/", MemberKind::Signature, false),
            (b"multivol_snapshot/", MemberKind::Snapshot, true),
            (b"multivol_diff/", MemberKind::Diff, true),
        ];
        let (rest, kind, in_blocks) = words
            .into_iter()
            .find_map(|(word, kind, in_blocks)| Some((name.strip_prefix(word)?, kind, in_blocks)))
            .ok_or(BadMember::Prefix)?;
        if !in_blocks {
            return Ok(Self {
                kind,
                path: TreePath::new(rest)?,
                block: None,
            });
        }
        let slash = rest
            .iter()
            .rposition(|&byte| byte == b'/')
            .ok_or(BadMember::Block)?;
        let (path, number) = rest.split_at(slash);
        let number = number.get(1..).unwrap_or_default();
        let plain = !number.is_empty() && number.iter().all(u8::is_ascii_digit);
        let number = plain
            .then(|| str::from_utf8(number).ok()?.parse().ok())
            .flatten();
        Ok(Self {
            kind,
            path: TreePath::new(path)?,
            block: Some(number.ok_or(BadMember::Block)?),
        })
    }

    /// The name as it stands in the tar; a directory's ends with a slash.
    #[must_use]
    pub fn to_bytes(&self, is_directory: bool) -> Vec<u8> {
        let word: &[u8] = match (self.kind, self.block) {
            (MemberKind::Snapshot, None) => b"snapshot/",
            (MemberKind::Snapshot, Some(_)) => b"multivol_snapshot/",
            (MemberKind::Diff, None) => b"diff/",
            (MemberKind::Diff, Some(_)) => b"multivol_diff/",
            (MemberKind::Deleted, _) => b"deleted/",
            (MemberKind::Signature, _) => b"signature/",
        };
        let mut name = [word, self.path.as_bytes()].concat();
        if let Some(block) = self.block {
            name.extend_from_slice(format!("/{block}").as_bytes());
        } else if is_directory && !self.path.is_root() {
            name.push(b'/');
        }
        name
    }
}

/// The header of an object's member, without name and size.
///
/// `None` for a socket, which the format leaves out.
#[must_use]
pub fn header_of(entry: &Entry) -> Option<TarHeader> {
    let mut header = TarHeader::new(
        Vec::new(),
        match entry.kind {
            EntryKind::File => TarKind::File,
            EntryKind::Directory => TarKind::Directory,
            EntryKind::Symlink { .. } => TarKind::Symlink,
            EntryKind::Fifo => TarKind::Fifo,
            EntryKind::CharDevice(_) => TarKind::CharDevice,
            EntryKind::BlockDevice(_) => TarKind::BlockDevice,
            EntryKind::Socket => return None,
        },
    );
    header.mode = entry.mode & 0o7777;
    header.uid = entry.owner.uid.into();
    header.gid = entry.owner.gid.into();
    header.user = entry.owner.user.as_deref().unwrap_or_default().into();
    header.group = entry.owner.group.as_deref().unwrap_or_default().into();
    header.mtime = entry.mtime.seconds().max(0);
    match &entry.kind {
        EntryKind::Symlink { target } => header.link.clone_from(target),
        EntryKind::CharDevice(device) | EntryKind::BlockDevice(device) => {
            header.device = (device.major, device.minor);
        }
        _ => {}
    }
    Some(header)
}

/// A signature tells the size of its file to whole blocks only. Here the exact size stands in the
/// device numbers of its header, which no reader looks at for a regular file: the bits above the
/// lowest 21 as the major number, those as the minor, so sizes below 2⁴² fit. Archives of others
/// have zeros there.
const SIZE_HIGH_SHIFT: u32 = 21;

/// Puts the size of a file into the header of its signature.
pub(crate) fn note_size(header: &mut TarHeader, size: u64) {
    let low = size & ((1 << SIZE_HIGH_SHIFT) - 1);
    if let (Ok(high), Ok(low)) = (u32::try_from(size >> SIZE_HIGH_SHIFT), u32::try_from(low))
        && high < 1 << SIZE_HIGH_SHIFT
    {
        header.device = (high, low);
    }
}

/// The size of a file by the header of its signature, which `blocks` blocks of `length` bytes
/// follow: the noted one where it can be right, else rounded up to whole blocks.
pub(crate) fn noted_size(header: &TarHeader, blocks: u64, length: u64) -> u64 {
    let most = blocks.saturating_mul(length);
    let noted = u64::from(header.device.0) << SIZE_HIGH_SHIFT | u64::from(header.device.1);
    if noted <= most && noted.saturating_add(length) > most {
        noted
    } else {
        most
    }
}

/// The object that a header describes. Its size is that of the member's data.
///
/// # Errors
///
/// [`BadMember`] for types that no backup has.
pub fn entry_of(path: TreePath, header: &TarHeader) -> Result<Entry, BadMember> {
    let device = DeviceNumber {
        major: header.device.0,
        minor: header.device.1,
    };
    let kind = match header.kind {
        TarKind::File => EntryKind::File,
        TarKind::Directory => EntryKind::Directory,
        TarKind::Symlink => EntryKind::Symlink {
            target: header.link.clone(),
        },
        TarKind::Fifo => EntryKind::Fifo,
        TarKind::CharDevice => EntryKind::CharDevice(device),
        TarKind::BlockDevice => EntryKind::BlockDevice(device),
        TarKind::HardLink => return Err(BadMember::HardLink),
        TarKind::Other(_) => return Err(BadMember::Type),
    };
    let name = |bytes: &[u8]| -> Option<Arc<str>> {
        let text = str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
        Some(text.into())
    };
    // Numbers that no system has become "nobody can be this".
    let number = |id| u32::try_from(id).unwrap_or(u32::MAX);
    let owner = (number(header.uid), number(header.gid));
    let mtime = Time::new(header.mtime, 0);
    let mut entry = Entry::new(path, kind, header.mode, owner, mtime);
    entry.owner.user = name(&header.user);
    entry.owner.group = name(&header.group);
    entry.size = header.size;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<(MemberKind, String, Option<u64>), BadMember> {
        MemberName::parse(name.as_bytes())
            .map(|name| (name.kind, name.path.to_string(), name.block))
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(
            parse("snapshot/a/b"),
            Ok((MemberKind::Snapshot, "a/b".into(), None))
        );
        assert_eq!(
            parse("diff/a/5"),
            Ok((MemberKind::Diff, "a/5".into(), None))
        );
        assert_eq!(
            parse("multivol_diff/a/5"),
            Ok((MemberKind::Diff, "a".into(), Some(5)))
        );
        assert_eq!(
            parse("multivol_snapshot/a/7/12"),
            Ok((MemberKind::Snapshot, "a/7".into(), Some(12)))
        );
        for root in ["snapshot/./", "snapshot/", "snapshot/."] {
            assert_eq!(parse(root), Ok((MemberKind::Snapshot, ".".into(), None)));
        }
    }

    #[test]
    fn names_read_back_as_they_were_written() {
        for name in [
            "snapshot/a/b",
            "diff/x",
            "deleted/x",
            "signature/x",
            "multivol_snapshot/a/3",
            "multivol_diff/a/10",
        ] {
            assert_eq!(
                MemberName::parse(name.as_bytes()).unwrap().to_bytes(false),
                name.as_bytes()
            );
        }
        assert_eq!(
            MemberName::parse(b"snapshot/d/").unwrap().to_bytes(true),
            b"snapshot/d/"
        );
        assert_eq!(
            MemberName::parse(b"snapshot/").unwrap().to_bytes(true),
            b"snapshot/"
        );
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in [
            "snapshot//etc/passwd",
            "snapshot/../x",
            "multivol_diff/a/../../b/1",
            "snapshot/a\0b",
        ] {
            assert!(matches!(parse(name), Err(BadMember::Path(_))), "{name:?}");
        }
        assert_eq!(parse("etc/passwd"), Err(BadMember::Prefix));
        assert_eq!(parse("multivol_diff/a"), Err(BadMember::Block));
        assert_eq!(parse("multivol_diff/a/+1"), Err(BadMember::Block));
        assert_eq!(parse("multivol_diff/a/"), Err(BadMember::Block));
    }
}
