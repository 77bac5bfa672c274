//! From a tar file to an archive.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bstr::{BString, ByteSlice};
use tar::{Entry, EntryType};

use super::sparse::Sparse;
use super::{ACL_ACCESS, ACL_DEFAULT, META, META_VERSION, VERSION, XATTR};
use crate::{Archives, Error, Host, Intake, Item, NewArchive, Statistics};

/// How a tar file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportOptions {
    /// Go on behind empty blocks: several tar files, one after the other.
    pub ignore_zeros: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// The archive.
    pub statistics: Statistics,
    /// Members of kinds that an archive has none of, and why.
    pub left_out: Vec<(BString, String)>,
}

/// Makes an archive of a tar file. Nothing of it can be seen before it is whole.
///
/// # Errors
///
/// [`Error::Tar`] when the input is no tar file, is damaged or ends too early; those of
/// [`Intake`].
pub fn import_tar(
    archives: Archives,
    new: NewArchive,
    host: &Host,
    options: ImportOptions,
    input: impl Read,
) -> Result<(Archives, Imported), Error> {
    let intake = Intake::begin(archives, new, host)?;
    let bad = |source| Error::Tar { source };
    let mut tar = tar::Archive::new(input);
    tar.set_ignore_zeros(options.ignore_zeros);
    let mut left_out = Vec::new();
    for entry in tar.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        match item_of(&mut entry).map_err(bad)? {
            Ok((item, sparse)) => {
                let taken = match (item.chunks.is_some(), sparse) {
                    (false, _) => intake.take_item(item, None),
                    (true, None) => intake.take_item(item, Some(&mut entry)),
                    (true, Some(sparse)) => {
                        let mut content = sparse.fill(&mut entry).map_err(bad)?;
                        intake.take_item(item, Some(&mut content))
                    }
                };
                match taken {
                    Ok(()) => {}
                    // The reason lies deeper, and the commit tells it.
                    Err(Error::Stopped) => break,
                    Err(error) => return Err(error),
                }
            }
            Err(Some(left)) => left_out.push(left),
            Err(None) => {}
        }
    }
    let (archives, statistics) = intake.commit()?;
    Ok((
        archives,
        Imported {
            statistics,
            left_out,
        },
    ))
}

/// Reads a tar file without keeping anything of it: how many members would be taken.
pub(crate) fn read_through(input: impl Read) -> std::io::Result<u64> {
    let mut taken = 0;
    let mut tar = tar::Archive::new(input);
    for entry in tar.entries()? {
        let mut entry = entry?;
        if let Ok((_, sparse)) = item_of(&mut entry)? {
            taken += 1;
            match sparse {
                Some(sparse) => std::io::copy(
                    &mut sparse.fill(&mut entry)?.take(READ_MAX),
                    &mut std::io::sink(),
                )?,
                None => std::io::copy(&mut entry, &mut std::io::sink())?,
            };
        }
    }
    Ok(taken)
}

/// How much of a file with holes is looked at: it may be as long as its header likes.
const READ_MAX: u64 = 1 << 20;

/// An item and where it has holes, or what is left out and why, or `None` for what is no member of its own.
type Converted = Result<(Item, Option<Sparse>), Option<(BString, String)>>;

fn item_of<R: Read>(entry: &mut Entry<'_, R>) -> std::io::Result<Converted> {
    let kind = match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => 0o100_000,
        EntryType::Link => 0o100_000,
        EntryType::Symlink => 0o120_000,
        EntryType::Char => 0o020_000,
        EntryType::Block => 0o060_000,
        EntryType::Directory => 0o040_000,
        EntryType::Fifo => 0o010_000,
        EntryType::XGlobalHeader => return Ok(Err(None)),
        other => {
            let why = format!("member type {:?} is not known", char::from(other.as_byte()));
            let path = entry.path_bytes().into_owned().into();
            return Ok(Err(Some((path, why))));
        }
    };
    // Old programs mark a folder by the end of its name alone.
    let kind = match kind {
        0o100_000 if entry.path_bytes().ends_with(b"/") => 0o040_000,
        kind => kind,
    };
    let is_link = entry.header().entry_type() == EntryType::Link;
    let records = records_of(entry)?;
    let mut item = match whole_item(&records) {
        Some(item) => item,
        None => plain_item(entry, kind, &records)?,
    };
    let sparse = Sparse::of(&records)?;
    let path = match sparse.as_ref().and_then(|sparse| sparse.path.as_ref()) {
        Some(path) => safe(path),
        None => safe(&entry.path_bytes()),
    };
    item.path = path;
    item.mode = kind | (item.mode & 0o7777);
    item.part = None;
    item.chunks_healthy = None;
    let is_file = kind == 0o100_000 && !is_link;
    item.chunks = is_file.then(Vec::new);
    item.size = None;
    item.source = match kind {
        0o120_000 => Some(target(entry)),
        _ if is_link => Some(safe(&target(entry))),
        _ => None,
    };
    if is_link {
        item.hardlink_master = None;
    } else if kind == 0o100_000 && !records.contains_key(META) {
        // Whether others follow, the header does not say.
        item.hardlink_master = Some(true);
    }
    Ok(Ok((item, sparse)))
}

fn target<R: Read>(entry: &Entry<'_, R>) -> BString {
    let target = entry.link_name_bytes();
    target
        .map(|target| target.into_owned().into())
        .unwrap_or_default()
}

/// All PAX records of a member.
fn records_of<R: Read>(entry: &mut Entry<'_, R>) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if let Ok(key) = extension.key() {
                records.insert(key.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    Ok(records)
}

/// The item that this program, or Borg 2, has put beside the member.
fn whole_item(records: &BTreeMap<String, Vec<u8>>) -> Option<Item> {
    if records.get(META_VERSION)?.as_slice() != VERSION.as_bytes() {
        return None;
    }
    let meta = STANDARD.decode(records.get(META)?).ok()?;
    Item::read(&meta).ok()
}

/// An item from what every tar file has, and from PAX records.
fn plain_item<R: Read>(
    entry: &Entry<'_, R>,
    kind: u32,
    records: &BTreeMap<String, Vec<u8>>,
) -> std::io::Result<Item> {
    let header = entry.header();
    let text = |key: &str, field: Option<&[u8]>| {
        let text = records.get(key).map(Vec::as_slice).or(field);
        text.filter(|text| !text.is_empty()).map(BString::from)
    };
    let number = |key: &str, field: std::io::Result<u64>| -> std::io::Result<Option<u32>> {
        let record = records.get(key).and_then(|text| text.to_str().ok());
        let number = match record.and_then(|text| text.parse().ok()) {
            Some(number) => number,
            None => field?,
        };
        Ok(u32::try_from(number).ok())
    };
    let time = |key: &str| records.get(key).and_then(|text| nanoseconds(text));
    let mtime = match time("mtime") {
        Some(mtime) => mtime,
        None => i64::try_from(header.mtime()?)
            .ok()
            .and_then(|seconds| seconds.checked_mul(1_000_000_000))
            .unwrap_or(i64::MAX),
    };
    let moment = |nanoseconds| tree::Time { nanoseconds };
    let xattrs = records.iter().filter_map(|(key, value)| {
        let name = key.strip_prefix(XATTR)?;
        let name = name.replace("%3D", "=").replace("%25", "%");
        // ACLs have keys of their own.
        (!name.starts_with("system.posix_acl_")).then(|| (name.into_bytes(), value.clone()))
    });
    let acl = |key: &str| records.get(key).map(|acl| BString::from(acl.as_slice()));
    let is_device = matches!(kind, 0o020_000 | 0o060_000);
    let rdev = || -> std::io::Result<u64> {
        let major = header.device_major()?.unwrap_or_default();
        let minor = header.device_minor()?.unwrap_or_default();
        Ok(rustix::fs::makedev(major, minor))
    };
    Ok(Item {
        mode: header.mode()? & 0o7777,
        uid: number("uid", header.uid())?,
        gid: number("gid", header.gid())?,
        user: text("uname", header.username_bytes()),
        group: text("gname", header.groupname_bytes()),
        mtime: moment(mtime),
        atime: time("atime").map(moment),
        ctime: time("ctime").map(moment),
        rdev: match is_device {
            true => Some(rdev()?),
            false => None,
        },
        xattrs: xattrs.collect(),
        acl_access: acl(ACL_ACCESS),
        acl_default: acl(ACL_DEFAULT),
        ..Item::default()
    })
}

/// A path without a slash in front, without `.`, and without `..` at its beginning.
fn safe(path: &[u8]) -> BString {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    match names.is_empty() {
        true => ".".into(),
        false => names.join(b"/".as_slice()).into(),
    }
}

/// Reads `1700000000.000000001`.
fn nanoseconds(text: &[u8]) -> Option<i64> {
    let text = text.to_str().ok()?;
    let (text, sign) = match text.strip_prefix('-') {
        Some(text) => (text, -1),
        None => (text, 1),
    };
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    if !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest: String = rest.chars().chain("000000000".chars()).take(9).collect();
    let whole: i64 = whole.parse().ok()?;
    whole
        .checked_mul(1_000_000_000)?
        .checked_add(rest.parse().ok()?)?
        .checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1700000000.5", Some(1_700_000_000_500_000_000)),
            ("1.0000000019", Some(1_000_000_001)),
            ("-1.5", Some(-1_500_000_000)),
            ("1e5", None),
            ("99999999999999999999", None),
            ("1.x", None),
        ] {
            assert_eq!(nanoseconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn paths_never_lead_out() {
        for (path, expected) in [
            ("./a/b/", "a/b"),
            ("/etc//passwd", "etc/passwd"),
            ("../../x", "x"),
            ("a/../../x", "x"),
            ("./", "."),
        ] {
            assert_eq!(safe(path.as_bytes()), expected);
        }
    }
}
