//! Folders that stand for archives, whatever those are called.

use std::collections::HashSet;

/// Longest name of a file, in bytes: Linux's `NAME_MAX`.
const NAME_SIZE_MAX: usize = 255;

/// The name of the folder of each archive: its own, where a file can have it.
///
/// Neither program gives an archive another one, but a repository may come from anywhere. What no
/// file can be called gets a name that is like it and that no other has.
pub(super) fn folder_names(archives: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut taken: HashSet<Vec<u8>> = archives.iter().filter(|name| fits(name)).cloned().collect();
    let mut free = |archive: &Vec<u8>| {
        if fits(archive) {
            return archive.clone();
        }
        let like = like(archive);
        let mut name = like.clone();
        for number in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            let ending = format!("_{number}");
            name.clone_from(&like);
            name.truncate(NAME_SIZE_MAX - ending.len());
            name.extend_from_slice(ending.as_bytes());
        }
        name
    };
    archives.iter().map(&mut free).collect()
}

/// Whether a file can be called so.
fn fits(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME_SIZE_MAX
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn like(archive: &[u8]) -> Vec<u8> {
    let safe = |byte: &u8| {
        if matches!(byte, b'/' | 0) {
            b'_'
        } else {
            *byte
        }
    };
    let name: Vec<u8> = archive.iter().take(NAME_SIZE_MAX).map(safe).collect();
    match &*name {
        b"" | b"." | b".." => b"_".to_vec(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_has_the_folder_of_its_name_and_an_odd_one_a_folder_of_its_own() {
        let long = "x".repeat(300);
        let archives = [
            "a/b",
            "",
            "a_b",
            "..",
            ".",
            "a\0b",
            "plain é",
            &long,
            &long[1..],
        ];
        let archives: Vec<Vec<u8>> = archives.map(|name| name.as_bytes().to_vec()).to_vec();
        let names = folder_names(&archives);
        let [slash, empty, own, parent, here, nul, plain, first, second] = &*names else {
            panic!("{names:?}");
        };
        assert_eq!(own, b"a_b");
        assert_eq!(plain, "plain é".as_bytes());
        assert_eq!((&**slash, &**nul), (&b"a_b_2"[..], &b"a_b_3"[..]));
        assert_eq!(
            (&**empty, &**parent, &**here),
            (&b"_"[..], &b"__2"[..], &b"__3"[..])
        );
        assert_eq!((first.len(), second.len()), (255, 255));
        assert_ne!(first, second);
        assert!(names.iter().all(|name| fits(name)));
    }
}
