//! `[guard]`: from when on a change looks like an attack.

use super::reader::Section;

/// How much of the files may change in one run before old snapshots are held back. In a hundred;
/// `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Files that are gone.
    pub deleted: Option<u8>,
    /// Files that are gone while as many are new.
    pub renamed: Option<u8>,
    /// Files that look encrypted and did not before.
    pub scrambled: Option<u8>,
    /// With fewer files than this nothing is judged.
    pub files: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            deleted: Some(30),
            renamed: Some(30),
            scrambled: Some(10),
            files: 200,
        }
    }
}

impl Guard {
    pub(super) fn read(root: &Section<'_>) -> Self {
        let usual = Self::default();
        let Some(section) = root.table("guard") else {
            return usual;
        };
        let files = section.count("files").unwrap_or(usual.files);
        section.settled("files", i64::from(files));
        let guard = Self {
            deleted: percent(&section, "deleted", usual.deleted),
            renamed: percent(&section, "renamed", usual.renamed),
            scrambled: percent(&section, "scrambled", usual.scrambled),
            files,
        };
        section.end(&[]);
        guard
    }
}

fn percent(section: &Section<'_>, key: &'static str, usual: Option<u8>) -> Option<u8> {
    let expected = "a share like `30 %`, or `never`";
    let value = section.read(key, expected, parse).unwrap_or(usual);
    let text = value.map_or_else(|| "never".to_owned(), |value| format!("{value} %"));
    section.settled(key, text);
    value
}

/// A share of 1 to 100 in a hundred, or `never`.
fn parse(text: &str) -> Option<Option<u8>> {
    if text == "never" {
        return Some(None);
    }
    let number: u8 = text.strip_suffix('%')?.trim_end().parse().ok()?;
    (1..=100).contains(&number).then_some(Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_with_its_sign_or_never() {
        assert_eq!(parse("30 %"), Some(Some(30)));
        assert_eq!(parse("100%"), Some(Some(100)));
        assert_eq!(parse("never"), Some(None));
        for wrong in ["30", "0%", "101 %", "%", "-3%", "a%"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
