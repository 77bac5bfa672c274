//! Profiles: how long a command took, in the form of Borg's, and Borg's in the form of Python's.
//!
//! A profile is a map from a function, as file, line and name, to how often it was called, how long it
//! took by itself and with what it called, and who called it. Borg keeps it in MessagePack; Python's
//! programs want it as `marshal` writes it. Of ourselves one function is told: the whole command.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::arguments::Arguments;
use super::fail::Failure;
use super::session::{Session, read_file};

/// Deepest nesting that is converted: a profile has three levels.
const DEPTH_MAX: usize = 16;

pub(crate) fn convert(_session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let path = |name| Path::new(arguments.os(name).unwrap_or_default());
    let packed = read_file(path("input"))?;
    let damaged = || Failure::error(format!("{}: this is no profile", path("input").display()));
    let marshalled = marshalled(&packed).ok_or_else(damaged)?;
    let output = path("output");
    fs::write(output, marshalled).map_err(|error| Failure::file(output, &error))
}

/// Writes the profile of a command that is over; the ending of the name says in which form.
pub(crate) fn write(
    path: &Path,
    command: &str,
    own: Duration,
    all: Duration,
) -> Result<(), Failure> {
    let packed = packed(command, own, all);
    let is_pythons = path.extension().is_some_and(|ending| ending == "pyprof");
    let bytes = match is_pythons {
        true => marshalled(&packed).unwrap_or_default(),
        false => packed,
    };
    fs::write(path, bytes).map_err(|error| Failure::file(path, &error))
}

/// One function, called once, in MessagePack.
fn packed(command: &str, own: Duration, all: Duration) -> Vec<u8> {
    let mut bytes = vec![0x81, 0x93];
    let text = |bytes: &mut Vec<u8>, text: &str| {
        let text = &text.as_bytes()[..text.len().min(255)];
        bytes.push(0xd9);
        bytes.push(u8::try_from(text.len()).unwrap_or(0));
        bytes.extend_from_slice(text);
    };
    text(&mut bytes, "ravelin");
    bytes.push(0);
    text(&mut bytes, command);
    bytes.extend([0x95, 1, 1]);
    for time in [own, all] {
        bytes.push(0xcb);
        bytes.extend(time.as_secs_f64().to_be_bytes());
    }
    bytes.push(0x80);
    bytes
}

/// MessagePack as `marshal` writes it, lists as tuples; `None` for what is none, or has more in it
/// than profiles have.
fn marshalled(packed: &[u8]) -> Option<Vec<u8>> {
    let mut rest = packed;
    let mut out = Vec::with_capacity(packed.len() * 2);
    value(&mut rest, &mut out, DEPTH_MAX)?;
    rest.is_empty().then_some(out)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

/// A number of so many bytes, the highest first.
fn number(rest: &mut &[u8], width: usize) -> Option<u64> {
    let bytes = take(rest, width)?.iter();
    Some(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

fn value(rest: &mut &[u8], out: &mut Vec<u8>, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let kind = *take(rest, 1)?.first()?;
    let mut length = |width| number(rest, width).and_then(|it| usize::try_from(it).ok());
    match kind {
        0x00..=0x7f => integer(out, i128::from(kind)),
        0xe0..=0xff => integer(out, i128::from(kind.cast_signed())),
        0xc0 => out.push(b'N'),
        0xc2 => out.push(b'F'),
        0xc3 => out.push(b'T'),
        0xcc..=0xcf => integer(out, i128::from(number(rest, 1 << (kind - 0xcc))?)),
        0xd0 => integer(
            out,
            i128::from(i8::from_be_bytes(take(rest, 1)?.try_into().ok()?)),
        ),
        0xd1 => integer(
            out,
            i128::from(i16::from_be_bytes(take(rest, 2)?.try_into().ok()?)),
        ),
        0xd2 => integer(
            out,
            i128::from(i32::from_be_bytes(take(rest, 4)?.try_into().ok()?)),
        ),
        0xd3 => integer(
            out,
            i128::from(i64::from_be_bytes(take(rest, 8)?.try_into().ok()?)),
        ),
        0xca => float(
            out,
            f64::from(f32::from_be_bytes(take(rest, 4)?.try_into().ok()?)),
        ),
        0xcb => float(out, f64::from_be_bytes(take(rest, 8)?.try_into().ok()?)),
        0xa0..=0xbf => text(take(rest, usize::from(kind & 0x1f))?, out)?,
        0xd9..=0xdb => {
            let length = length(1 << (kind - 0xd9))?;
            text(take(rest, length)?, out)?;
        }
        0x90..=0x9f => tuple(rest, out, usize::from(kind & 0xf), depth)?,
        0xdc | 0xdd => {
            let length = length(2 << (kind - 0xdc))?;
            tuple(rest, out, length, depth)?;
        }
        0x80..=0x8f => map(rest, out, usize::from(kind & 0xf), depth)?,
        0xde | 0xdf => {
            let length = length(2 << (kind - 0xde))?;
            map(rest, out, length, depth)?;
        }
        _ => return None,
    }
    Some(())
}

/// A number of any size: within 32 bits as it is, else in digits of 15 bits.
fn integer(out: &mut Vec<u8>, number: i128) {
    if let Ok(small) = i32::try_from(number) {
        out.push(b'i');
        out.extend(small.to_le_bytes());
        return;
    }
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest > 0 {
        digits.push(u16::try_from(rest & 0x7fff).unwrap_or(0));
        rest >>= 15;
    }
    let count = i32::try_from(digits.len()).unwrap_or(0);
    out.push(b'l');
    out.extend((if number < 0 { -count } else { count }).to_le_bytes());
    out.extend(digits.into_iter().flat_map(u16::to_le_bytes));
}

fn float(out: &mut Vec<u8>, number: f64) {
    out.push(b'g');
    out.extend(number.to_le_bytes());
}

fn text(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    std::str::from_utf8(bytes).ok()?;
    out.push(b'u');
    out.extend(u32::try_from(bytes.len()).ok()?.to_le_bytes());
    out.extend_from_slice(bytes);
    Some(())
}

fn tuple(rest: &mut &[u8], out: &mut Vec<u8>, count: usize, depth: usize) -> Option<()> {
    out.push(b'(');
    out.extend(u32::try_from(count).ok()?.to_le_bytes());
    for _ in 0..count {
        value(rest, out, depth)?;
    }
    Some(())
}

fn map(rest: &mut &[u8], out: &mut Vec<u8>, count: usize, depth: usize) -> Option<()> {
    out.push(b'{');
    for _ in 0..count {
        value(rest, out, depth)?;
        value(rest, out, depth)?;
    }
    out.push(b'0');
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_reads_what_is_converted() {
        let Some(python) = testkit::require("python3") else {
            return;
        };
        let mut packed = packed(
            "borg create",
            Duration::from_millis(1500),
            Duration::from_secs(2),
        );
        let script = "import marshal, sys; print(marshal.loads(bytes.fromhex(sys.argv[1])))";
        let read = |packed: &[u8]| {
            let hex = hex::encode(marshalled(packed).unwrap());
            testkit::run(std::process::Command::new(&python).args(["-c", script, &hex]))
        };
        assert_eq!(
            read(&packed),
            "{('ravelin', 0, 'borg create'): (1, 1, 1.5, 2.0, {})}\n"
        );
        packed = vec![0x94, 0xc0, 0xc3, 0xff, 0xcf];
        packed.extend(u64::MAX.to_be_bytes());
        assert_eq!(read(&packed), "(None, True, -1, 18446744073709551615)\n");
    }

    #[test]
    fn any_bytes_are_converted_or_refused() {
        let whole = packed("borg list", Duration::from_secs(1), Duration::from_secs(1));
        for bytes in testkit::Changes::new(vec![whole], 1).take(3000) {
            drop(marshalled(&bytes));
        }
    }
}
