//! Writing headers and the end of a tar.

use super::{BLOCK_SIZE, RECORD_SIZE, TarHeader, TarKind, padding};

/// Appends a header to `out`: one block, or three and more when something does not fit in it.
pub fn write_header(out: &mut Vec<u8>, header: &TarHeader) {
    let texts = [
        ("path", &header.name, 100),
        ("linkpath", &header.link, 100),
        ("uname", &header.user, 32),
        ("gname", &header.group, 32),
    ];
    let mut records: Vec<(&str, Vec<u8>)> = Vec::new();
    for (key, text, width) in texts {
        if text.len() > width || !text.is_ascii() {
            records.push((key, text.clone()));
        }
    }
    // Times before 1970 are stored as 1970: that is what duplicity does.
    let mtime = header.mtime.max(0).cast_unsigned();
    let numbers = [
        ("uid", header.uid, 7),
        ("gid", header.gid, 7),
        ("size", header.size, 11),
        ("mtime", mtime, 11),
    ];
    for (key, number, digits) in numbers {
        if !fits(number, digits) {
            records.push((key, number.to_string().into_bytes()));
        }
    }
    if !records.is_empty() {
        write_records(out, &records);
    }
    write_block(out, header, mtime);
}

/// Appends the end of a tar of `size` bytes: zeros up to the next record, a whole one at a border.
pub fn write_end(out: &mut Vec<u8>, size: u64) {
    let end = RECORD_SIZE - size % RECORD_SIZE;
    let end = usize::try_from(end).unwrap_or(0);
    out.resize(out.len() + end, 0);
}

fn fits(number: u64, digits: u32) -> bool {
    number < 8_u64.pow(digits)
}

fn write_records(out: &mut Vec<u8>, records: &[(&str, Vec<u8>)]) {
    let mut payload = Vec::new();
    if records
        .iter()
        .any(|(_, value)| str::from_utf8(value).is_err())
    {
        payload.extend_from_slice(b"21 hdrcharset=BINARY\n");
    }
    for (key, value) in records {
        // The length counts its own digits: try until it agrees with itself.
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        payload.extend_from_slice(format!("{length} {key}=").as_bytes());
        payload.extend_from_slice(value);
        payload.push(b'\n');
    }
    let mut header = TarHeader::new(b"././@PaxHeader".to_vec(), TarKind::Other(b'x'));
    header.size = payload.len() as u64;
    write_block(out, &header, 0);
    out.extend_from_slice(&payload);
    out.resize(out.len() + padding(header.size), 0);
}

fn write_block(out: &mut Vec<u8>, header: &TarHeader, mtime: u64) {
    let start = out.len();
    let text = |out: &mut Vec<u8>, text: &[u8], width: usize| {
        let end = out.len() + width;
        // One question mark for every character, and for every byte that is none.
        for chunk in text.utf8_chunks() {
            out.extend(chunk.valid().chars().map(|character| {
                u8::try_from(character)
                    .ok()
                    .filter(u8::is_ascii)
                    .unwrap_or(b'?')
            }));
            out.extend(chunk.invalid().iter().map(|_| b'?'));
        }
        out.resize(end, 0);
    };
    let number = |out: &mut Vec<u8>, number: u64, digits: u32| {
        let number = if fits(number, digits) { number } else { 0 };
        let width = digits as usize;
        out.extend_from_slice(format!("{number:0width$o}\0").as_bytes());
    };
    text(out, &header.name, 100);
    number(out, u64::from(header.mode & 0o7777), 7);
    number(out, header.uid, 7);
    number(out, header.gid, 7);
    number(out, header.size, 11);
    number(out, mtime, 11);
    out.extend_from_slice(b"        ");
    out.push(match header.kind {
        TarKind::File => b'0',
        TarKind::HardLink => b'1',
        TarKind::Symlink => b'2',
        TarKind::CharDevice => b'3',
        TarKind::BlockDevice => b'4',
        TarKind::Directory => b'5',
        TarKind::Fifo => b'6',
        TarKind::Other(byte) => byte,
    });
    text(out, &header.link, 100);
    out.extend_from_slice(b"ustar\x0000");
    text(out, &header.user, 32);
    text(out, &header.group, 32);
    let is_device = matches!(header.kind, TarKind::CharDevice | TarKind::BlockDevice);
    if is_device || (header.kind == TarKind::File && header.device != (0, 0)) {
        number(out, header.device.0.into(), 7);
        number(out, header.device.1.into(), 7);
    }
    out.resize(start + BLOCK_SIZE, 0);
    let block = out.get_mut(start..).unwrap_or_default();
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    if let Some(field) = block.get_mut(148..155) {
        field.copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}
