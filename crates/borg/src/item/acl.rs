//! POSIX ACLs in Borg's text form: that of `acl_to_text`, with the number as a fourth field.
//!
//! ```text
//! user::rw-
//! user:ada:r--:1000
//! group::r--
//! mask::r--
//! other::---
//! ```

use std::fmt::Write as _;

use bstr::{BString, ByteSlice};
use tree::{Acl, AclEntry, AclWho};

/// Longest text that is looked at: an ACL in its binary form has 64 KiB at most, and so 8192
/// entries.
const TEXT_SIZE_MAX: usize = 4 << 20;

/// Most entries of an ACL.
const ENTRIES_MAX: usize = 8192;

/// Writes the text form. `numeric` puts the number in the place of the name.
pub(super) fn to_text(acl: &Acl, numeric: bool) -> BString {
    let mut text = String::new();
    for entry in &acl.entries {
        if !text.is_empty() {
            text.push('\n');
        }
        let (word, who) = match &entry.who {
            AclWho::UserOwner => ("user", None),
            AclWho::User(uid, name) => ("user", Some((uid, name))),
            AclWho::GroupOwner => ("group", None),
            AclWho::Group(gid, name) => ("group", Some((gid, name))),
            AclWho::Mask => ("mask", None),
            AclWho::Other => ("other", None),
        };
        let permission = |bit, letter| match entry.permissions & bit {
            0 => '-',
            _ => letter,
        };
        let (r, w, x) = (permission(4, 'r'), permission(2, 'w'), permission(1, 'x'));
        // Writing to a string cannot fail.
        let _ = match who {
            None => write!(text, "{word}::{r}{w}{x}"),
            Some((number, Some(name))) if !numeric => {
                write!(text, "{word}:{name}:{r}{w}{x}:{number}")
            }
            Some((number, _)) => write!(text, "{word}:{number}:{r}{w}{x}:{number}"),
        };
    }
    text.into()
}

/// Reads the text form, also that of `getfacl`, without numbers. `None` if it is something else.
pub(super) fn from_text(text: &[u8]) -> Option<Acl> {
    if text.len() > TEXT_SIZE_MAX {
        return None;
    }
    let mut entries = Vec::new();
    for line in text.split(|&byte| byte == b'\n' || byte == b',') {
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if entries.len() >= ENTRIES_MAX {
            return None;
        }
        entries.push(entry(line)?);
    }
    Some(Acl { entries })
}

fn entry(line: &[u8]) -> Option<AclEntry> {
    let mut fields = line.split(|&byte| byte == b':');
    let (word, name) = (fields.next()?, fields.next()?);
    let permissions = permissions(fields.next()?)?;
    let number = fields.next();
    if fields.next().is_some() {
        return None;
    }
    let who = match (word, name) {
        (b"user" | b"u", b"") => AclWho::UserOwner,
        (b"group" | b"g", b"") => AclWho::GroupOwner,
        (b"mask" | b"m", b"") => AclWho::Mask,
        (b"other" | b"o", b"") => AclWho::Other,
        (b"user" | b"u", name) => {
            let (uid, user) = number_and_name(name, number)?;
            AclWho::User(uid, user)
        }
        (b"group" | b"g", name) => {
            let (gid, group) = number_and_name(name, number)?;
            AclWho::Group(gid, group)
        }
        _ => return None,
    };
    Some(AclEntry { who, permissions })
}

/// A name that is a number is no name. Without a number, the name has to be known where it is
/// restored, or else the entry stands for nobody.
fn number_and_name(
    name: &[u8],
    number: Option<&[u8]>,
) -> Option<(u32, Option<std::sync::Arc<str>>)> {
    let parse = |digits: &[u8]| digits.to_str().ok()?.parse::<u32>().ok();
    let named = parse(name);
    let number = match number {
        Some(number) => parse(number)?,
        None => named.unwrap_or(u32::MAX),
    };
    let name = name.to_str().ok().filter(|_| named.is_none());
    Some((number, name.map(Into::into)))
}

fn permissions(letters: &[u8]) -> Option<u8> {
    letters.iter().try_fold(0, |permissions, letter| {
        Some(
            permissions
                | match letter {
                    b'r' => 4,
                    b'w' => 2,
                    b'x' => 1,
                    b'-' => 0,
                    _ => return None,
                },
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What stock Borg 1.4.5 has written.
    const STOCK: &str = "user::rw-\nuser:root:r--:0\nuser:ada:rwx:1000\nuser:54321:r-x:54321\n\
        group::r--\ngroup:adm:r-x:4\ngroup:65432:-wx:65432\nmask::rwx\nother::r--";

    #[test]
    fn the_text_of_the_stock_program_is_read_and_written() {
        let acl = from_text(STOCK.as_bytes()).unwrap();
        assert_eq!(acl.entries.len(), 9);
        assert_eq!(acl.entries[2].who, AclWho::User(1000, Some("ada".into())));
        assert_eq!(acl.entries[3].who, AclWho::User(54321, None));
        assert_eq!(acl.entries[6].permissions, 3);
        assert_eq!(to_text(&acl, false), STOCK);
        let numeric = STOCK
            .replace("root", "0")
            .replace("ada", "1000")
            .replace("adm", "4");
        assert_eq!(to_text(&acl, true), numeric.as_str());
    }

    #[test]
    fn texts_without_numbers_and_in_short_words_are_read() {
        let acl = from_text(b"u::rwx, u:7:r-- # seven\n\ng:adm:r\nm::rw-,o::---\n").unwrap();
        let whos: Vec<_> = acl.entries.into_iter().map(|entry| entry.who).collect();
        assert_eq!(
            whos,
            [
                AclWho::UserOwner,
                AclWho::User(7, None),
                AclWho::Group(u32::MAX, Some("adm".into())),
                AclWho::Mask,
                AclWho::Other,
            ]
        );
    }

    #[test]
    fn what_is_no_acl_is_refused() {
        for text in [
            "user",
            "user:",
            "user::rwq",
            "mask:x:rwx",
            "user:a:rwx:b",
            "u:a:r:1:2",
        ] {
            assert_eq!(from_text(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ug:rwx\\-0-9\n,#a\\PC]*") {
            if let Some(acl) = from_text(text.as_bytes()) {
                prop_assert_eq!(from_text(&to_text(&acl, false)), Some(acl));
            }
        }
    }
}
