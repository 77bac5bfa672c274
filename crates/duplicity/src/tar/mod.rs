//! Tar as duplicity has it: ustar headers with PAX extensions, as Python's `tarfile` writes them.
//!
//! Read are also GNU long names, base-256 numbers, and the ustar prefix, of older versions. What
//! announces more than a name can be, or numbers that are none, is refused before anything is
//! allocated.

mod read;
mod write;

pub use read::{BadTar, TarReader};
pub use write::{write_end, write_header};

/// Headers and data are padded to this.
pub(crate) const BLOCK_SIZE: usize = 512;

/// A tar's length is a multiple of this.
pub(crate) const RECORD_SIZE: u64 = 10_240;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link to [`TarHeader::link`].
    Symlink,
    /// A further name of another member. Duplicity does not write these.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// Something else, by its type byte.
    Other(u8),
}

/// A member's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarHeader {
    /// Its name, any bytes; a directory's ends with a slash.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: TarKind,
    /// Permission bits: the low 12 bits of the mode.
    pub mode: u32,
    /// Number of the owner.
    pub uid: u64,
    /// Number of the group.
    pub gid: u64,
    /// Name of the owner, or empty.
    pub user: Vec<u8>,
    /// Name of the group, or empty.
    pub group: Vec<u8>,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of data that follow.
    pub size: u64,
    /// Target of a link, or empty.
    pub link: Vec<u8>,
    /// Major and minor number of a device. Of a regular file, where the numbers mean nothing to any
    /// reader of tars: see `SIZE_HIGH_SHIFT` in `member.rs`.
    pub device: (u32, u32),
}

impl TarHeader {
    /// A member without attributes.
    #[must_use]
    pub fn new(name: Vec<u8>, kind: TarKind) -> Self {
        Self {
            name,
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            mtime: 0,
            size: 0,
            link: Vec::new(),
            device: (0, 0),
        }
    }
}

/// Bytes of padding behind data of this size.
pub(crate) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK_SIZE as u64).unwrap_or(0);
    (BLOCK_SIZE - over) % BLOCK_SIZE
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn members(tar: &[u8]) -> Result<Vec<(TarHeader, Vec<u8>)>, BadTar> {
        let mut reader = TarReader::new(tar);
        let mut members = Vec::new();
        while let Some(header) = reader.next()? {
            let mut data = Vec::new();
            reader.data().read_to_end(&mut data).map_err(BadTar::Read)?;
            members.push((header, data));
        }
        Ok(members)
    }

    fn file(name: &[u8], data: &[u8]) -> (TarHeader, Vec<u8>) {
        let header = TarHeader {
            mode: 0o4755,
            uid: 1000,
            gid: 100,
            user: b"me".to_vec(),
            mtime: 1_700_000_000,
            size: data.len() as u64,
            ..TarHeader::new(name.to_vec(), TarKind::File)
        };
        (header, data.to_vec())
    }

    fn write(members: &[(TarHeader, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (header, data) in members {
            write_header(&mut out, header);
            out.extend_from_slice(data);
            out.resize(out.len() + padding(header.size), 0);
        }
        let size = out.len() as u64;
        write_end(&mut out, size);
        assert_eq!(out.len() % 10_240, 0);
        out
    }

    #[test]
    fn everything_reads_back_as_it_was_written() {
        let link = TarHeader {
            link: [b"../".as_slice(), &[b'x'; 120]].concat(),
            ..TarHeader::new(b"link".to_vec(), TarKind::Symlink)
        };
        let device = TarHeader {
            device: (8, 300_000),
            ..TarHeader::new(b"dev".to_vec(), TarKind::BlockDevice)
        };
        let mut big = file(b"big ids", b"1");
        (big.0.uid, big.0.gid, big.0.mtime) = (4_000_000_000, 5_000_000, 1 << 34);
        let all = vec![
            file(b"a", b""),
            file(&[b'n'; 100], b"x"),
            file(&[b'n'; 101], &[7; 512]),
            file("schön/日本".as_bytes(), &[8; 513]),
            file(b"not \xff utf-8\n", b"y"),
            (link, Vec::new()),
            (device, Vec::new()),
            big,
            (
                TarHeader::new(b"dir/".to_vec(), TarKind::Directory),
                Vec::new(),
            ),
        ];
        assert_eq!(members(&write(&all)).unwrap(), all);
    }

    #[test]
    fn a_tar_that_is_cut_off_is_an_error() {
        let tar = write(&[file(b"a", &[1; 600])]);
        for length in [1, 511, 512, 700, 1100, 1537] {
            assert!(members(&tar[..length]).is_err(), "{length}");
        }
        // Without an end, as old versions wrote it, it is whole.
        assert_eq!(members(&tar[..1536]).unwrap().len(), 1);
    }

    #[test]
    fn old_forms_are_read() {
        let mut out = Vec::new();
        let name = [b"long/".as_slice(), &[b'n'; 200]].concat();
        let mut long = TarHeader::new(b"././@LongLink".to_vec(), TarKind::Other(b'L'));
        long.size = name.len() as u64 + 1;
        write_header(&mut out, &long);
        out.extend_from_slice(&name);
        out.resize(out.len() + 512 - name.len(), 0);
        let (header, _) = file(b"long/nnn", b"");
        write_header(&mut out, &header);
        // The second member: a base-256 uid, and its folder in the prefix field.
        let second = out.len();
        write_header(&mut out, &header);
        out[second + 108..second + 116].copy_from_slice(&[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0]);
        out[second + 345..second + 351].copy_from_slice(b"prefix");
        out[second + 148..second + 156].fill(b' ');
        let sum: u32 = out[second..second + 512]
            .iter()
            .map(|&byte| u32::from(byte))
            .sum();
        out[second + 148..second + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = out.len() as u64;
        write_end(&mut out, size);
        let members = members(&out).unwrap();
        assert_eq!(members[0].0.name, name);
        assert_eq!(members[1].0.name, b"prefix/long/nnn");
        assert_eq!(members[1].0.uid, 4_000_000_000);
    }

    #[test]
    fn lies_are_refused_before_anything_is_allocated() {
        let bomb = TarHeader {
            size: 1 << 32,
            ..TarHeader::new(b"././@LongLink".to_vec(), TarKind::Other(b'L'))
        };
        let mut out = Vec::new();
        write_header(&mut out, &bomb);
        assert!(matches!(members(&out), Err(BadTar::Extension)));

        let mut flipped = write(&[file(b"a", b"")]);
        flipped[0] ^= 1;
        assert!(matches!(members(&flipped), Err(BadTar::Checksum)));

        let pax = |records: &[u8]| {
            let mut out = Vec::new();
            let mut header = TarHeader::new(b"x".to_vec(), TarKind::Other(b'x'));
            header.size = records.len() as u64;
            write_header(&mut out, &header);
            out.extend_from_slice(records);
            out.resize(out.len() + padding(header.size), 0);
            write_header(&mut out, &file(b"a", b"").0);
            members(&out)
        };
        for records in [
            "x",
            "3 a=b\n",
            "99 path=x\n",
            "8 size=\n",
            "11 size=-1\n",
            "0 path=x\n",
            "12 path=a\0b\n",
            "12 path=\n1234",
        ] {
            assert!(pax(records.as_bytes()).is_err(), "{records:?}");
        }
    }

    #[test]
    fn a_size_beyond_all_numbers_is_a_tar_that_is_cut_off() {
        let mut out = Vec::new();
        let size = b"29 size=18446744073709551615\n";
        let extension = TarHeader {
            size: size.len() as u64,
            ..TarHeader::new(b"x".to_vec(), TarKind::Other(b'x'))
        };
        write_header(&mut out, &extension);
        out.extend_from_slice(size);
        out.resize(out.len().next_multiple_of(BLOCK_SIZE), 0);
        write_header(&mut out, &TarHeader::new(b"a".to_vec(), TarKind::File));
        let mut reader = TarReader::new(out.as_slice());
        assert_eq!(reader.next().unwrap().unwrap().size, u64::MAX);
        assert!(matches!(reader.next(), Err(BadTar::CutOff)));
    }
}
