//! What the changes add up to: every version of every file.
//!
//! Every device replays the same changes in the same order, so every device comes to the same
//! result. A change names the version that it follows. If that is not the present one any more,
//! the change lost a race: its version is kept, and does not become the present one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use jiff::Timestamp;
use store::Name;

use super::line::{Kept, Line, MAGIC};
use crate::{Device, Error, State, Version, VersionId};

/// A version and the copy that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) version: Version,
    pub(super) kept: Option<Kept>,
    base: Option<VersionId>,
}

/// The files and their versions after the first so many changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    /// The last change that is in it.
    pub(super) number: u64,
    /// Oldest version first. Never an empty list.
    files: BTreeMap<Name, Vec<Record>>,
    /// Copies that are deleted or being deleted: the highest generation for each content, and when
    /// it was given up.
    purged: BTreeMap<Box<str>, (u32, Timestamp)>,
}

impl Index {
    /// The present version of a file, unless it is deleted.
    pub(super) fn live(&self, path: &Name) -> Option<&Record> {
        let records = self.files.get(path)?;
        let last = records.iter().rev().find(|record| !record.version.lost)?;
        last.version.content().is_some().then_some(last)
    }

    /// All present files, in the order of their paths.
    pub(super) fn all_live(&self) -> impl Iterator<Item = &Record> {
        self.files.keys().filter_map(|path| self.live(path))
    }

    /// All versions of a file, oldest first.
    pub(super) fn versions(&self, path: &Name) -> &[Record] {
        self.files.get(path).map_or(&[], Vec::as_slice)
    }

    /// All versions of all files, by path, then oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &[Record]> {
        self.files.values().map(Vec::as_slice)
    }

    /// A version by its name.
    pub(super) fn version(&self, path: &Name, id: &VersionId) -> Option<&Record> {
        let records = self.versions(path);
        records.iter().find(|record| record.version.id == *id)
    }

    /// Whether the file ever had this content.
    pub(super) fn ever(&self, path: &Name, hash: &str) -> bool {
        self.versions(path).iter().any(|record| {
            record
                .version
                .content()
                .is_some_and(|content| *content.hash == *hash)
        })
    }

    /// A present file that stands where `path` would need a folder, or below it.
    pub(super) fn in_the_way(&self, path: &Name) -> Option<&Name> {
        let text = path.as_str();
        let above = text.match_indices('/').filter_map(|(at, _)| {
            let name = Name::new(text.get(..at)?).ok()?;
            self.live(&name).map(|record| &record.version.path)
        });
        let prefix = format!("{text}/");
        let start = Bound::Excluded(path);
        let below = self
            .files
            .range::<Name, _>((start, Bound::Unbounded))
            // Names between `a` and `a/` may stand before: `a!` does.
            .skip_while(|(name, _)| name.as_str() < prefix.as_str())
            .take_while(|(name, _)| name.as_str().starts_with(&prefix))
            .find(|(name, _)| self.live(name).is_some())
            .map(|(name, _)| name);
        above.into_iter().next().or(below)
    }

    /// The copy that a content may have: one that is not given up.
    pub(super) fn usable(&self, hash: &str) -> Kept {
        let given_up = self
            .purged
            .get(hash)
            .map_or(0, |(generation, _)| *generation);
        Kept {
            hash: hash.into(),
            generation: given_up + 1,
        }
    }

    /// Since when a copy is given up for deletion.
    pub(super) fn purged(&self, kept: &Kept) -> Option<Timestamp> {
        let (generation, at) = self.purged.get(&kept.hash)?;
        (kept.generation <= *generation).then_some(*at)
    }

    /// All copies that some version needs.
    pub(super) fn needed(&self) -> BTreeSet<&Kept> {
        let records = self.files.values().flatten();
        records.filter_map(|record| record.kept.as_ref()).collect()
    }

    /// Takes in one line of a change.
    pub(super) fn apply(&mut self, line: Line) {
        match line {
            Line::Change {
                mut version,
                base,
                kept,
            } => {
                let live = self.live(&version.path).map(|record| &record.version.id);
                let present = version.content().is_some();
                version.lost |= live != base.as_ref()
                    || (present && live.is_none() && self.in_the_way(&version.path).is_some());
                self.keep(version, base, kept);
            }
            Line::Thin { path, version } => {
                if let Some(records) = self.files.get_mut(&path) {
                    records.retain(|record| record.version.id != version);
                    if records.is_empty() {
                        self.files.remove(&path);
                    }
                }
            }
            Line::Purge { kept, at } => {
                let new = (kept.generation, at);
                let known = self.purged.entry(kept.hash).or_insert(new);
                if kept.generation > known.0 {
                    *known = new;
                }
            }
        }
    }

    fn keep(&mut self, version: Version, base: Option<VersionId>, kept: Option<Kept>) {
        let path = version.path.clone();
        let record = Record {
            version,
            kept,
            base,
        };
        self.files.entry(path).or_default().push(record);
    }

    /// The whole index as text.
    pub(super) fn checkpoint(&self, at: Timestamp, device: &Device) -> String {
        let mut text = String::new();
        for record in self.files.values().flatten() {
            let line = Line::Change {
                version: record.version.clone(),
                base: record.base.clone(),
                kept: record.kept.clone(),
            };
            line.write(at, device, &mut text);
        }
        for (hash, &(generation, at)) in &self.purged {
            let hash = hash.clone();
            let kept = Kept { hash, generation };
            Line::Purge { kept, at }.write(at, device, &mut text);
        }
        with_header(&format!("checkpoint\t{}", self.number), &text)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// When it is not what was written: [`Error::Index`] or [`Error::Newer`].
    pub(crate) fn from_checkpoint(object: &Name, bytes: &[u8]) -> Result<Self, Error> {
        let (header, lines) = read(object, bytes)?;
        let number = header
            .strip_prefix("checkpoint\t")
            .and_then(|number| number.parse().ok())
            .filter(|number| *number <= super::NUMBER_MAX);
        let mut index = Self {
            number: number.ok_or_else(|| damaged(object, 1, "it is no checkpoint"))?,
            ..Self::default()
        };
        for (_, line) in lines {
            match line {
                // What lost its race is marked as such, and is not judged again.
                Line::Change {
                    version,
                    base,
                    kept,
                } => index.keep(version, base, kept),
                other => index.apply(other),
            }
        }
        Ok(index)
    }

    /// Takes in change number `number`, as it stands in the store.
    ///
    /// # Errors
    ///
    /// When it is not what was written. Nothing of it is taken in then.
    pub(super) fn take_change(
        &mut self,
        number: u64,
        stem: &str,
        object: &Name,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let (header, lines) = read(object, bytes)?;
        if !header.starts_with("change\t") {
            return Err(damaged(object, 1, "it is no change"));
        }
        for (line_number, line) in &lines {
            if let Line::Change { version, .. } = line
                && version.id.as_str() != version_text(stem, *line_number)
            {
                return Err(damaged(
                    object,
                    *line_number,
                    "the version belongs to another change",
                ));
            }
        }
        for (_, line) in lines {
            self.apply(line);
        }
        self.number = number;
        Ok(())
    }
}

/// The name of the version that line `line` (from 2, the header is the first) of a change makes.
pub(super) fn version_text(stem: &str, line: usize) -> String {
    format!("{stem}.{}", line.saturating_sub(1))
}

fn damaged(object: &Name, line: usize, what: &'static str) -> Error {
    Error::Index {
        object: object.clone(),
        line,
        what,
    }
}

/// Puts the header before lines: what it is, and how many lines there are, so that a text that was
/// cut between two lines is seen to be.
pub(super) fn with_header(what: &str, lines: &str) -> String {
    format!("{MAGIC}\t{what}\t{}\n{lines}", lines.lines().count())
}

type Numbered = Vec<(usize, Line)>;

/// The header without its magic word, and the lines with their numbers from 2.
fn read<'a>(object: &Name, bytes: &'a [u8]) -> Result<(&'a str, Numbered), Error> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| damaged(object, 1, "it is not text in UTF-8"))?;
    let (first, rest) = text
        .split_once('\n')
        .ok_or_else(|| damaged(object, 1, "it has no header"))?;
    let header = first
        .strip_prefix(MAGIC)
        .and_then(|header| header.strip_prefix('\t'));
    let header = header.and_then(|header| header.rsplit_once('\t'));
    let Some((header, count)) = header else {
        return Err(if first.starts_with("ravelin drop index ") {
            Error::Newer {
                object: object.clone(),
            }
        } else {
            damaged(object, 1, "it has no header")
        });
    };
    let whole = rest.is_empty() || rest.ends_with('\n');
    if !whole || count != rest.lines().count().to_string() {
        return Err(damaged(object, 1, "it is cut off"));
    }
    let mut lines = Vec::new();
    for (number, line) in rest.lines().enumerate() {
        let number = number + 2;
        let line = Line::parse(line).map_err(|what| damaged(object, number, what))?;
        lines.push((number, line));
    }
    Ok((header, lines))
}

/// How a version looks at a moment.
pub(super) fn at_time(records: &[Record], time: Timestamp) -> Option<&Record> {
    let past = |record: &&Record| !record.version.lost && record.version.at <= time;
    let last = records.iter().rev().find(past)?;
    matches!(last.version.state, State::Present(_)).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn put(id: &str, base: &str, path: &str) -> Line {
        let line = format!(
            "2026-11-25T22:46:24Z\tput\t{id}\t{base}\td\t0\t2026-11-25T22:40:00Z\t{HASH}\t{path}"
        );
        Line::parse(&line).unwrap()
    }

    fn delete(id: &str, base: &str, path: &str) -> Line {
        let line = format!("2026-11-25T22:46:24Z\tdelete\t{id}\t{base}\td\t-\t-\t-\t{path}");
        Line::parse(&line).unwrap()
    }

    fn live(index: &Index) -> Vec<(String, String)> {
        index
            .all_live()
            .map(|record| {
                let version = &record.version;
                (version.path.to_string(), version.id.to_string())
            })
            .collect()
    }

    #[test]
    fn of_two_that_follow_the_same_version_the_first_wins_and_the_other_is_kept() {
        let mut index = Index::default();
        for line in [
            put("1.1", "-", "a"),
            put("2.1", "1.1", "a"),
            put("3.1", "1.1", "a"),
        ] {
            index.apply(line);
        }
        assert_eq!(live(&index), [("a".into(), "2.1".into())]);
        assert_eq!(index.versions(&name("a")).len(), 3);
        assert!(index.versions(&name("a"))[2].version.lost);
        index.apply(delete("4.1", "1.1", "a"));
        assert_eq!(live(&index).len(), 1);
        index.apply(delete("5.1", "2.1", "a"));
        assert_eq!(live(&index), []);
        index.apply(put("6.1", "-", "a"));
        assert_eq!(live(&index), [("a".into(), "6.1".into())]);
    }

    #[test]
    fn a_file_cannot_stand_where_a_folder_is_nor_the_other_way() {
        let mut index = Index::default();
        index.apply(put("1.1", "-", "a/b"));
        index.apply(put("1.2", "-", "a!"));
        index.apply(put("2.1", "-", "a"));
        index.apply(put("3.1", "-", "a/b/c"));
        assert_eq!(live(&index).len(), 2);
        assert_eq!(index.in_the_way(&name("a")), Some(&name("a/b")));
        index.apply(delete("4.1", "1.1", "a/b"));
        index.apply(put("4.2", "-", "a"));
        assert!(index.live(&name("a")).is_some());
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let mut index = Index::default();
        for line in [
            put("1.1", "-", "a"),
            put("2.1", "9.9", "a"),
            delete("3.1", "1.1", "a"),
        ] {
            index.apply(line);
        }
        index.apply(Line::Purge {
            kept: Kept::parse(&format!("{HASH}.4")).unwrap(),
            at: "2026-11-25T22:46:24Z".parse().unwrap(),
        });
        index.number = 3;
        let at = "2026-11-25T22:46:24Z".parse().unwrap();
        let text = index.checkpoint(at, &Device::new("d"));
        let read = Index::from_checkpoint(&name("c"), text.as_bytes()).unwrap();
        assert_eq!(read, index);
        assert_eq!(read.usable(HASH).generation, 5);
        for end in 0..text.len() {
            assert!(Index::from_checkpoint(&name("c"), &text.as_bytes()[..end]).is_err());
        }
    }
}
