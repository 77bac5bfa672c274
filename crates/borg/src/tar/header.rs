//! Headers of the members of a tar file, as they are written.

use std::io::{self, Write};

use tar::{EntryType, Header};

/// Bytes of a block; everything is padded to a whole one.
const BLOCK: usize = 512;

/// Names up to this fit into a header.
const NAME_MAX: usize = 100;

/// Owners' names up to this fit, with an end.
const OWNER_MAX: usize = 31;

/// Octal fields of eight bytes hold numbers below this.
const ID_LIMIT: u64 = 1 << 21;

/// Octal fields of twelve bytes hold numbers below this.
const SIZE_LIMIT: u64 = 1 << 33;

/// The name of a member that only holds a long name, as GNU tar has it.
const LONG_LINK: &[u8] = b"././@LongLink";

/// A member, before it is a header.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) kind: EntryType,
    pub(super) path: &'a [u8],
    /// Target of a link; else empty.
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) user: &'a [u8],
    pub(super) group: &'a [u8],
    /// Seconds since 1970.
    pub(super) mtime: u64,
    pub(super) size: u64,
    /// Major and minor number.
    pub(super) device: Option<(u32, u32)>,
}

impl Member<'_> {
    /// Writes the header in GNU's form.
    pub(super) fn write_gnu(&self, output: &mut impl Write) -> io::Result<()> {
        for (kind, name) in [
            (EntryType::GNULongLink, self.link),
            (EntryType::GNULongName, self.path),
        ] {
            if name.len() > NAME_MAX {
                let content = [name, b"\0"].concat();
                write_extension(kind, LONG_LINK, &content, Header::new_gnu(), output)?;
            }
        }
        self.write_block(Header::new_gnu(), output)
    }

    /// Writes the header in POSIX's form, with records in front that take what does not fit.
    pub(super) fn write_pax(
        &self,
        mut records: Vec<(String, Vec<u8>)>,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let mut add = |key: &str, value: &[u8]| records.push((key.to_owned(), value.to_vec()));
        for (key, text, length_max) in [
            ("path", self.path, NAME_MAX),
            ("linkpath", self.link, NAME_MAX),
            ("uname", self.user, OWNER_MAX),
            ("gname", self.group, OWNER_MAX),
        ] {
            if text.len() > length_max || !text.is_ascii() {
                add(key, text);
            }
        }
        for (key, number, limit) in [
            ("uid", self.uid, ID_LIMIT),
            ("gid", self.gid, ID_LIMIT),
            ("size", self.size, SIZE_LIMIT),
        ] {
            if number >= limit {
                add(key, number.to_string().as_bytes());
            }
        }
        if !records.is_empty() {
            let mut content = Vec::new();
            let is_text = |(_, value): &(_, Vec<u8>)| std::str::from_utf8(value).is_ok();
            if !records.iter().all(is_text) {
                write_record("hdrcharset", b"BINARY", &mut content);
            }
            for (key, value) in &records {
                write_record(key, value, &mut content);
            }
            let name = b"././@PaxHeader";
            write_extension(
                EntryType::XHeader,
                name,
                &content,
                Header::new_ustar(),
                output,
            )?;
        }
        let small = |number: u64, limit: u64| if number < limit { number } else { 0 };
        let fitting = Member {
            uid: small(self.uid, ID_LIMIT),
            gid: small(self.gid, ID_LIMIT),
            size: small(self.size, SIZE_LIMIT),
            ..*self
        };
        fitting.write_block(Header::new_ustar(), output)
    }

    fn write_block(&self, mut header: Header, output: &mut impl Write) -> io::Result<()> {
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_mtime(self.mtime);
        header.set_size(self.size);
        let old = header.as_old_mut();
        put(&mut old.name, self.path);
        put(&mut old.linkname, self.link);
        if let Some(owners) = header.as_ustar_mut() {
            put(&mut owners.uname[..OWNER_MAX], self.user);
            put(&mut owners.gname[..OWNER_MAX], self.group);
        }
        if let Some(owners) = header.as_gnu_mut() {
            put(&mut owners.uname[..OWNER_MAX], self.user);
            put(&mut owners.gname[..OWNER_MAX], self.group);
        }
        if let Some((major, minor)) = self.device {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        header.set_cksum();
        output.write_all(header.as_bytes())
    }
}

/// Writes zeros up to the next whole block behind content of this size.
pub(super) fn write_padding(size: u64, output: &mut impl Write) -> io::Result<()> {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    output.write_all(&[0; BLOCK][..(BLOCK - over) % BLOCK])
}

/// Writes the two empty blocks that end a tar file.
pub(super) fn write_end(output: &mut impl Write) -> io::Result<()> {
    output.write_all(&[0; 2 * BLOCK])
}

/// A member that only speaks about the next one.
fn write_extension(
    kind: EntryType,
    name: &[u8],
    content: &[u8],
    header: Header,
    output: &mut impl Write,
) -> io::Result<()> {
    let extension = Member {
        kind,
        path: name,
        link: b"",
        mode: 0o644,
        uid: 0,
        gid: 0,
        user: b"",
        group: b"",
        mtime: 0,
        size: content.len() as u64,
        device: None,
    };
    extension.write_block(header, output)?;
    output.write_all(content)?;
    write_padding(content.len() as u64, output)
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits, too.
fn write_record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} {key}=").as_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// As much of a text as fits.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_record_counts_itself() {
        for (value, length) in [(0, 5), (2, 7), (4, 9), (5, 11), (93, 99), (94, 101)] {
            let mut out = Vec::new();
            write_record("k", &vec![b'v'; value], &mut out);
            assert_eq!(out.len(), length);
            assert!(out.starts_with(format!("{length} k=").as_bytes()));
        }
    }
}
