//! Names of conflict copies.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use store::Name;

use crate::hidden::name;
use crate::{Device, Error};

/// The name for the copy of a file that two devices changed at once:
/// `report (conflict laptop 2026-11-25 22.46.24).odt`.
///
/// `number` is 1, and more when that name is taken.
///
/// # Errors
///
/// [`Error::BadName`] when no such name is valid.
pub fn conflict_name(
    path: &Name,
    device: &Device,
    at: Timestamp,
    number: u32,
) -> Result<Name, Error> {
    let time = at
        .to_zoned_datetime(TimeZone::UTC)
        .strftime("%Y-%m-%d %H.%M.%S")
        .to_string();
    let more = if number > 1 {
        format!(" {number}")
    } else {
        String::new()
    };
    let mark = format!(" (conflict {device} {time}{more})");
    let file_name = path.file_name();
    let (stem, ending) = match file_name.rfind('.') {
        Some(at) if at > 0 && file_name.len() - at <= 20 => file_name.split_at(at),
        _ => (file_name, ""),
    };
    // A name may have 255 bytes.
    let room = 255_usize.saturating_sub(mark.len() + ending.len());
    let mut end = stem.len().min(room);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    let stem = stem.get(..end).unwrap_or_default();
    name(&format!("{}{stem}{mark}{ending}", path.folder().prefix()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str, number: u32) -> String {
        let at = "2026-11-25T22:46:24Z".parse().unwrap();
        let path = Name::new(path).unwrap();
        conflict_name(&path, &Device::new("laptop"), at, number)
            .unwrap()
            .to_string()
    }

    #[test]
    fn a_copy_keeps_its_folder_and_its_ending() {
        let mark = "(conflict laptop 2026-11-25 22.46.24)";
        assert_eq!(named("a/report.odt", 1), format!("a/report {mark}.odt"));
        assert_eq!(named(".profile", 1), format!(".profile {mark}"));
        assert_eq!(named("x", 2), "x (conflict laptop 2026-11-25 22.46.24 2)");
        let long = named(&format!("{}.txt", "ü".repeat(120)), 1);
        assert!(
            long.len() <= 255 && long.ends_with(&format!("{mark}.txt")),
            "{long}"
        );
    }
}
