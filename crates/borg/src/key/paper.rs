//! The key on paper: lines short enough to be typed, each with a check of its own.
//!
//! ```text
//! BORG PAPER KEY v1
//! id: 20 / e29442 3506da 4e1ea7 / 25f62a 5a3d41 - 02
//!  1: 616263 64…  - 6f
//! ```
//!
//! The first line says how many lines follow, the beginning of the repository's id, the beginning
//! of the SHA-256 of all of the key, and two digits over these. A line holds 18 bytes and two
//! digits of the SHA-256 over its number, as two bytes, and these bytes.
//!
//! Format: `export_paperkey` and `import_paperkey` in Borg 1.4's `keymanager.py`.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::{Id, KeyError};

/// Bytes of the key in a line.
const LINE_SIZE: usize = 18;

/// Hexadecimal digits that stand together.
const GROUP_LENGTH: usize = 6;

/// Most lines of a key: many times those of any that there is.
const LINES_MAX: usize = 1000;

const MAGIC: &str = "BORG PAPER KEY v1";

/// The key for paper, of a blob in base64.
///
/// # Errors
///
/// [`KeyError::Damaged`] when it is no blob.
pub(crate) fn to_paper(repository: &Id, blob: &str) -> Result<String, KeyError> {
    let compact: String = blob.split_ascii_whitespace().collect();
    let key = STANDARD.decode(compact).map_err(|_| KeyError::Damaged {
        what: "it is not Base64",
    })?;
    let lines = key.chunks(LINE_SIZE);
    let id: String = repository.to_string().chars().take(18).collect();
    let whole = check(&key, 12);
    let mut text = format!(
        "To restore key use borg key import --paper /path/to/repo\n\n{MAGIC}\n\
         id: {} / {} / {} - {}\n",
        lines.len(),
        grouped(&id),
        grouped(&whole),
        check(format!("{}/{id}/{whole}", lines.len()).as_bytes(), 2),
    );
    for (number, line) in (1..).zip(lines) {
        let _ = writeln!(
            text,
            "{number:2}: {} - {}",
            grouped(&hex::encode(line)),
            line_check(number, line)
        );
    }
    Ok(text)
}

/// Why what was typed from paper is not the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPaper {
    /// The line that begins with `id:` is missing or wrong.
    #[error("the line that begins with `id:` is missing, or a character of it is wrong")]
    Id,
    /// It is the key of another repository.
    #[error("it is the key of another repository")]
    OtherRepository,
    /// A line is missing, or a character of it is wrong.
    #[error("line {number} is missing, or a character of it is wrong")]
    Line {
        /// Its number.
        number: usize,
    },
    /// Each line is right, but all together are not.
    #[error("the lines are right, but do not belong together")]
    Whole,
}

/// The blob, in base64, from what was typed from paper.
///
/// # Errors
///
/// [`BadPaper`] says which line to look at again.
pub(crate) fn from_paper(repository: &Id, text: &str) -> Result<String, BadPaper> {
    let mut lines = text.lines().map(str::trim);
    let id_line = lines.find_map(|line| line.strip_prefix("id:"));
    let (id, id_check) = id_line
        .and_then(|line| line.split_once('-'))
        .ok_or(BadPaper::Id)?;
    let (id, id_check) = (compact(id), compact(id_check));
    if check(id.as_bytes(), 2) != id_check {
        return Err(BadPaper::Id);
    }
    let mut parts = id.split('/');
    let count: Option<usize> = parts.next().and_then(|count| count.parse().ok());
    let (Some(count @ 1..=LINES_MAX), Some(id), Some(whole)) = (count, parts.next(), parts.next())
    else {
        return Err(BadPaper::Id);
    };
    if !repository.to_string().starts_with(id) {
        return Err(BadPaper::OtherRepository);
    }
    let typed: Vec<&str> = lines.collect();
    let mut key = Vec::new();
    for number in 1..=count {
        let bad = BadPaper::Line { number };
        let line = typed.iter().find_map(|line| {
            let (found, line) = line.split_once(':')?;
            (found.trim() == number.to_string()).then_some(line)
        });
        let (line, found) = line
            .and_then(|line| line.split_once('-'))
            .ok_or(bad.clone())?;
        let bytes = hex::decode(compact(line)).map_err(|_| bad.clone())?;
        if bytes.len() > LINE_SIZE || line_check(number, &bytes) != compact(found) {
            return Err(bad);
        }
        key.extend_from_slice(&bytes);
    }
    if check(&key, 12) != whole {
        return Err(BadPaper::Whole);
    }
    Ok(STANDARD.encode(key))
}

/// The first digits of the SHA-256.
fn check(bytes: &[u8], length: usize) -> String {
    hex::encode(Sha256::digest(bytes))
        .chars()
        .take(length)
        .collect()
}

fn line_check(number: usize, line: &[u8]) -> String {
    let number = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    check(&[number.as_slice(), line].concat(), 2)
}

fn grouped(text: &str) -> String {
    let mut grouped = String::new();
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index % GROUP_LENGTH == 0 {
            grouped.push(' ');
        }
        grouped.push(character);
    }
    grouped
}

fn compact(text: &str) -> String {
    let characters = text.chars().filter(|character| !character.is_whitespace());
    characters.collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: Id = Id([0xab; 32]);

    fn paper() -> (String, String) {
        let key: Vec<u8> = (0..=200).collect();
        let blob = STANDARD.encode(key);
        (to_paper(&REPOSITORY, &blob).unwrap(), blob)
    }

    #[test]
    fn what_was_printed_can_be_typed() {
        let (paper, blob) = paper();
        assert_eq!(from_paper(&REPOSITORY, &paper), Ok(blob.clone()));
        let sloppy = paper
            .to_uppercase()
            .replace("ID:", "id:")
            .replace("  ", " ");
        assert_eq!(from_paper(&REPOSITORY, &sloppy), Ok(blob));
        let other = from_paper(&Id([1; 32]), &paper);
        assert_eq!(other, Err(BadPaper::OtherRepository));
    }

    #[test]
    fn a_wrong_character_names_its_line() {
        let (paper, _) = paper();
        let lines: Vec<&str> = paper.lines().collect();
        for (index, line) in lines.iter().enumerate().skip(3) {
            let at = line.find(':').unwrap() + 2;
            let wrong = if &line[at..=at] == "0" { "1" } else { "0" };
            let mut changed = (*line).to_owned();
            changed.replace_range(at..=at, wrong);
            let mut typed = lines.clone();
            typed[index] = &changed;
            let expected = match index {
                3 => BadPaper::Id,
                _ => BadPaper::Line { number: index - 3 },
            };
            assert_eq!(from_paper(&REPOSITORY, &typed.join("\n")), Err(expected));
        }
    }
}
