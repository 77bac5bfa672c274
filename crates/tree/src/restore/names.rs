//! The names that a restore invents: for the second of two, and for what is not finished.

use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest name that file systems of Linux keep.
pub(super) const NAME_MAX: usize = 255;

/// How names of unfinished objects begin; process and serial number follow.
const TEMPORARY_PREFIX: &str = ".ravelin-restore-";

/// A name for an object that is not finished, and that nothing else here has.
///
/// The number counts the names of this process. Should a name be taken nevertheless, creating
/// fails (`O_EXCL`) and the next one is tried.
pub(super) fn temporary_name() -> String {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    format!("{TEMPORARY_PREFIX}{}-{serial}", process::id())
}

/// Whether a name is one of [`temporary_name`]'s.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    name.strip_prefix(TEMPORARY_PREFIX.as_bytes())
        .and_then(|rest| {
            let dash = rest.iter().position(|&byte| byte == b'-')?;
            Some(digits(rest.get(..dash)?) && digits(rest.get(dash + 1..)?))
        })
        .unwrap_or(false)
}

/// The name of the restored one where both are kept: `report (restored).odt`,
/// `report (restored 2).odt`.
///
/// The mark stands before the extension so that the file still opens with its program. A name
/// that would get too long loses the end of its stem.
pub(super) fn name_beside(name: &[u8], folder: bool, copy_number: u32) -> Vec<u8> {
    let mark = if copy_number == 1 {
        " (restored)".to_owned()
    } else {
        format!(" (restored {copy_number})")
    };
    let dot = name.iter().rposition(|&byte| byte == b'.');
    let stem_end = match dot {
        // A leading dot hides a file; a long tail after a dot is no extension.
        Some(at) if !folder && at > 0 && name.len() - at <= 16 => at,
        _ => name.len(),
    };
    let (stem, extension) = name.split_at(stem_end);
    let room = NAME_MAX.saturating_sub(mark.len() + extension.len());
    let mut result = fitting(stem, room).to_vec();
    result.extend_from_slice(mark.as_bytes());
    result.extend_from_slice(extension);
    result
}

/// As much of `stem` as fits without cutting a UTF-8 character.
fn fitting(stem: &[u8], room: usize) -> &[u8] {
    let is_boundary = |at: &usize| stem.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (0..=room.min(stem.len())).rev().find(is_boundary);
    stem.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(name: &str, copy_number: u32) -> String {
        String::from_utf8(name_beside(name.as_bytes(), false, copy_number)).unwrap()
    }

    #[test]
    fn the_mark_stands_before_the_extension() {
        assert_eq!(beside("report.odt", 1), "report (restored).odt");
        assert_eq!(beside("report.odt", 2), "report (restored 2).odt");
        assert_eq!(beside("Makefile", 1), "Makefile (restored)");
        assert_eq!(beside(".bashrc", 1), ".bashrc (restored)");
        assert_eq!(
            name_beside(b"photos.2024", true, 1),
            b"photos.2024 (restored)"
        );
    }

    #[test]
    fn a_long_name_stays_possible_and_readable() {
        let name = format!("{}.odt", "\u{e4}".repeat(125));
        let new = beside(&name, 12);
        assert!(new.len() <= NAME_MAX, "{}", new.len());
        assert!(new.ends_with(" (restored 12).odt"));
        assert_eq!(name_beside(&[0x80; 255], false, 1).len(), 11);
    }

    #[test]
    fn names_of_unfinished_objects_are_recognised_and_others_are_not() {
        assert!(is_temporary(temporary_name().as_bytes()));
        for other in [".ravelin", ".ravelin-restore-1", ".ravelin-restore-1-2x"] {
            assert!(!is_temporary(other.as_bytes()), "{other}");
        }
        assert!(!is_temporary(b".ravelin-restore--"));
    }
}
