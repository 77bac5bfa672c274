//! `borg diff`

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;

use borg::{Access, Archive, Archives, ChunkReader, ChunkRef, Item};
use bstr::BString;
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::fail::Failure;
use super::items::{is_further_name, may_have_further_names};
use super::log::Warning;
use super::matcher::Matcher;
use super::place::archive_name;
use super::session::Session;
use super::{printing, text};

const KIND: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;

/// What `--sort-by` takes.
const FIELDS: &[&str] = &[
    "path",
    "size",
    "size_diff",
    "size_added",
    "size_removed",
    "user",
    "group",
    "uid",
    "gid",
    "ctime",
    "mtime",
    "ctime_diff",
    "mtime_diff",
];

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let (spot, name) = session.archive(arguments)?;
    let other = arguments.text("archive2").unwrap_or_default();
    let other = archive_name(&other, session.now)?;
    let matcher = Matcher::of(arguments)?;
    let order = order(session, arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    let one = archives.archive(name.as_bytes())?;
    let two = archives.archive(other.as_bytes())?;
    let same_cuts = arguments.has("same_chunker_params")
        || one.chunker_params.is_some() && one.chunker_params == two.chunker_params;
    if !same_cuts {
        session.log.notice(
            "The archives were cut into chunks in different ways, or do not say how: the content of files is read and compared. (--same-chunker-params: do not.)",
        );
    }
    let mut comparer = Comparer {
        session,
        archives: &archives,
        numeric_ids: arguments.has("numeric_ids"),
        content_only: arguments.has("content_only"),
        same_cuts,
    };
    let mut before = files(session, &archives, &one, &matcher)?;
    let after = files(session, &archives, &two, &matcher)?;
    let mut differences = Vec::new();
    let mut added = Vec::new();
    for (path, new) in after {
        match before.remove(&path) {
            Some(old) => differences.extend(comparer.compare(path, Some(old), Some(new))?),
            None => added.push((path, new)),
        }
    }
    for (path, new) in added {
        differences.extend(comparer.compare(path, None, Some(new))?);
    }
    for (path, old) in before {
        differences.extend(comparer.compare(path, Some(old), None)?);
    }
    for (field, descends) in order.iter().rev() {
        differences.sort_by(|one, other| {
            let order = one.key(field).cmp(&other.key(field));
            if *descends { order.reverse() } else { order }
        });
    }
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    for difference in &differences {
        let line = match arguments.has("json_lines") {
            true => difference.json(),
            false => difference.line(),
        };
        writeln!(output, "{line}").map_err(printing)?;
    }
    output.flush().map_err(printing)?;
    drop(output);
    matcher.warn_of_unmatched(session);
    Ok(())
}

/// Fields, and whether they descend.
fn order(session: &Session, arguments: &Arguments) -> Result<Vec<(String, bool)>, Failure> {
    let mut order = Vec::new();
    if arguments.has("sort") {
        let message = "Warning: \"--sort\" is deprecated and will be removed. Use \"--sort-by=path\" instead.";
        session.log.notice(message);
        order.push(("path".to_owned(), false));
    }
    if let Some(fields) = arguments.text("diff_sort_by") {
        order.clear();
        for field in fields
            .split(',')
            .map(str::trim)
            .filter(|field| !field.is_empty())
        {
            let name = field.trim_start_matches(['<', '>']);
            if !FIELDS.contains(&name) {
                return Err(Failure::usage(format!(
                    "argument --sort-by: unsupported sort field: {name} (known: {})",
                    FIELDS.join(", ")
                )));
            }
            order.push((name.to_owned(), field.starts_with('>')));
        }
    }
    Ok(order)
}

/// The items of an archive by their paths; further names of files are as the first is, where that is
/// compared as well.
fn files(
    session: &Session,
    archives: &Archives,
    archive: &Archive,
    matcher: &Matcher,
) -> Result<BTreeMap<BString, Item>, Failure> {
    let mut firsts: HashMap<BString, Item> = HashMap::new();
    let mut found = BTreeMap::new();
    let mut stopped = None;
    let listed = archives.items(archive, |item| {
        if let Err(signal) = session.go_on() {
            stopped = Some(signal);
            return Err(borg::Error::Stopped);
        }
        if item.part.is_some() && !session.shows_parts {
            return Ok(());
        }
        if !matcher.matches(&item.path) {
            return Ok(());
        }
        if may_have_further_names(&item) {
            firsts.insert(item.path.clone(), item.clone());
        }
        let path = item.path.clone();
        let first = item.source.as_ref().filter(|_| is_further_name(&item));
        let item = match first.and_then(|source| firsts.get(source)) {
            Some(first) => Item {
                path: path.clone(),
                ..first.clone()
            },
            None => item,
        };
        found.insert(path, item);
        Ok(())
    });
    match stopped {
        Some(signal) => Err(signal),
        None => {
            listed?;
            Ok(found)
        }
    }
}

/// What is different about a file.
struct Difference {
    path: BString,
    /// As JSON and as text.
    changes: Vec<(Value, String)>,
    added: u64,
    removed: u64,
    old: Option<Item>,
    new: Option<Item>,
}

/// What is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i128),
    Text(BString),
}

impl Difference {
    fn key(&self, field: &str) -> Key {
        let now = self.new.as_ref().or(self.old.as_ref());
        let number = |number: Option<i128>| Key::Number(number.unwrap_or(0));
        let text = |text: Option<&BString>| Key::Text(text.cloned().unwrap_or_default());
        let time = |item: Option<&Item>, field: &str| {
            let item = item?;
            let time = match field {
                "ctime" => item.ctime.unwrap_or(item.mtime),
                _ => item.mtime,
            };
            Some(i128::from(time.nanoseconds))
        };
        let (added, removed) = (i128::from(self.added), i128::from(self.removed));
        match field {
            "size" => number(self.new.as_ref().map(|item| item.content_size().into())),
            "size_diff" => Key::Number(added - removed),
            "size_added" => Key::Number(added),
            "size_removed" => Key::Number(removed),
            "user" => text(now.and_then(|item| item.user.as_ref())),
            "group" => text(now.and_then(|item| item.group.as_ref())),
            "uid" => number(now.and_then(|item| item.uid).map(Into::into)),
            "gid" => number(now.and_then(|item| item.gid).map(Into::into)),
            "ctime" | "mtime" => number(time(now, field)),
            "ctime_diff" | "mtime_diff" => {
                let field = field.trim_end_matches("_diff");
                let of = |item: &Option<Item>| time(item.as_ref(), field).unwrap_or(0);
                Key::Number(of(&self.new) - of(&self.old))
            }
            _ => Key::Text(self.path.clone()),
        }
    }

    fn line(&self) -> String {
        let changes: Vec<&str> = self.changes.iter().map(|(_, text)| text.as_str()).collect();
        format!("{:<19} {}", changes.join(" "), text::path(&self.path))
    }

    fn json(&self) -> String {
        let changes: Vec<&Value> = self.changes.iter().map(|(value, _)| value).collect();
        let line = json!({"path": text::path(&self.path), "changes": changes});
        super::stats::sorted(&line).to_string()
    }
}

struct Comparer<'a> {
    session: &'a Session,
    archives: &'a Archives,
    numeric_ids: bool,
    content_only: bool,
    same_cuts: bool,
}

impl Comparer<'_> {
    fn compare(
        &mut self,
        path: BString,
        old: Option<Item>,
        new: Option<Item>,
    ) -> Result<Option<Difference>, Failure> {
        self.session.go_on()?;
        let mut difference = Difference {
            path,
            changes: Vec::new(),
            added: 0,
            removed: 0,
            old: None,
            new: None,
        };
        match (&old, &new) {
            (Some(old), Some(new)) if !self.lacks_first(old) & !self.lacks_first(new) => {
                self.both(&mut difference, old, new)?;
            }
            // Without the first name, nothing is known of the content.
            (Some(_), Some(_)) => {}
            (Some(old), None) => self.presence(&mut difference, old, "removed"),
            (None, Some(new)) => self.presence(&mut difference, new, "added"),
            (None, None) => {}
        }
        (difference.old, difference.new) = (old, new);
        Ok((!difference.changes.is_empty()).then_some(difference))
    }

    /// Whether it is a further name of a file whose first one is left out or lost, and says so.
    fn lacks_first(&self, item: &Item) -> bool {
        let source = item.source.as_ref().filter(|_| is_further_name(item));
        if let Some(source) = source {
            let message = format!(
                "cannot find hardlink source for {} ({}), skipping compare.",
                text::path(&item.path),
                text::path(source)
            );
            self.session.log.warn(Warning::Other, &message);
        }
        source.is_some()
    }

    /// An item that only one archive has.
    fn presence(&self, difference: &mut Difference, item: &Item, what: &str) {
        let kind = match item.mode & KIND {
            SYMLINK => "link",
            DIRECTORY => "directory",
            _ => {
                let size = item.content_size();
                match what {
                    "added" => difference.added += size,
                    _ => difference.removed += size,
                }
                let shown = text::size(size, self.session.iec);
                let line = format!("{what:<7}{shown:>12}");
                return difference
                    .changes
                    .push((json!({"type": what, "size": size}), line));
            }
        };
        let what = format!("{what} {kind}");
        difference
            .changes
            .push((json!({"type": what}), what.clone()));
    }

    fn both(&mut self, difference: &mut Difference, old: &Item, new: &Item) -> Result<(), Failure> {
        let kinds = (old.mode & KIND, new.mode & KIND);
        match kinds {
            (SYMLINK, SYMLINK) if old.source != new.source => {
                let what = "changed link";
                difference
                    .changes
                    .push((json!({"type": what}), what.into()));
            }
            (before, after) if before != after && (before == SYMLINK || after == SYMLINK) => {
                self.presence(difference, old, "removed");
                self.presence(difference, new, "added");
            }
            _ => {
                if let (Some(before), Some(after)) = (&old.chunks, &new.chunks) {
                    self.content(difference, before, after)?;
                }
            }
        }
        if self.content_only {
            return Ok(());
        }
        let (user, group) = (self.user(old), self.group(old));
        let (new_user, new_group) = (self.user(new), self.group(new));
        if (&user, &group) != (&new_user, &new_group) {
            let line = format!("[{user}:{group} -> {new_user}:{new_group}]");
            let value = json!({
                "type": "owner",
                "old_user": user,
                "old_group": group,
                "new_user": new_user,
                "new_group": new_group,
            });
            difference.changes.push((value, line));
        }
        if old.mode != new.mode {
            let (before, after) = (text::mode(old.mode), text::mode(new.mode));
            let line = format!("[{before} -> {after}]");
            let value = json!({"type": "mode", "old_mode": before, "new_mode": after});
            difference.changes.push((value, line));
        }
        let times = [
            ("ctime", old.ctime, new.ctime),
            ("mtime", Some(old.mtime), Some(new.mtime)),
        ];
        for (name, before, after) in times {
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            if before == after {
                continue;
            }
            let (before, after) = (text::moment(before), text::moment(after));
            let line = format!("[{name}: {} -> {}]", text::time(before), text::time(after));
            let mut value = json!({"type": name});
            if let Some(value) = value.as_object_mut() {
                value.insert(format!("old_{name}"), text::iso_micros(before).into());
                value.insert(format!("new_{name}"), text::iso_micros(after).into());
            }
            difference.changes.push((value, line));
        }
        Ok(())
    }

    fn user(&self, item: &Item) -> String {
        let name = item.user.as_ref().filter(|_| !self.numeric_ids);
        name.map_or_else(
            || item.uid.unwrap_or(0).to_string(),
            |name| text::path(name),
        )
    }

    fn group(&self, item: &Item) -> String {
        let name = item.group.as_ref().filter(|_| !self.numeric_ids);
        name.map_or_else(
            || item.gid.unwrap_or(0).to_string(),
            |name| text::path(name),
        )
    }

    fn content(
        &mut self,
        difference: &mut Difference,
        old: &[ChunkRef],
        new: &[ChunkRef],
    ) -> Result<(), Failure> {
        let ids = |chunks: &[ChunkRef]| chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>();
        if ids(old) == ids(new) {
            return Ok(());
        }
        if !self.same_cuts {
            if !self.is_equal(old, new)? {
                difference
                    .changes
                    .push((json!({"type": "modified"}), "modified".into()));
            }
            return Ok(());
        }
        let without = |chunks: &[ChunkRef], others: &[ChunkRef]| -> u64 {
            let others: HashSet<_> = others.iter().map(|chunk| chunk.id).collect();
            let own = chunks.iter().filter(|chunk| !others.contains(&chunk.id));
            own.map(|chunk| u64::from(chunk.size)).sum()
        };
        let (added, removed) = (without(new, old), without(old, new));
        difference.added += added;
        difference.removed += removed;
        if added == 0 && removed == 0 {
            return Ok(());
        }
        let shown = |bytes: u64, sign: &str| {
            let sign = if bytes == 0 { "" } else { sign };
            format!("{sign}{}", text::size_rounded(bytes, self.session.iec))
        };
        let line = format!("{:>9} {:>9}", shown(added, "+"), shown(removed, "-"));
        let value = json!({"type": "modified", "added": added, "removed": removed});
        difference.changes.push((value, line));
        Ok(())
    }

    /// Whether two contents are the same, however they are cut.
    fn is_equal(&self, old: &[ChunkRef], new: &[ChunkRef]) -> Result<bool, Failure> {
        let size = |chunks: &[ChunkRef]| {
            chunks
                .iter()
                .map(|chunk| u64::from(chunk.size))
                .sum::<u64>()
        };
        if size(old) != size(new) {
            return Ok(false);
        }
        let mut old = Content::new(self.archives, old)?;
        let mut new = Content::new(self.archives, new)?;
        loop {
            let (before, after) = (old.rest()?, new.rest()?);
            let length = before.len().min(after.len());
            if length == 0 {
                return Ok(before.len() == after.len());
            }
            if before.get(..length) != after.get(..length) {
                return Ok(false);
            }
            old.position += length;
            new.position += length;
        }
    }
}

/// Content, chunk by chunk.
struct Content<'a> {
    reader: ChunkReader<'a>,
    chunks: std::slice::Iter<'a, ChunkRef>,
    plain: Vec<u8>,
    position: usize,
}

impl<'a> Content<'a> {
    fn new(archives: &'a Archives, chunks: &'a [ChunkRef]) -> Result<Self, Failure> {
        Ok(Self {
            reader: ChunkReader::new(archives)?,
            chunks: chunks.iter(),
            plain: Vec::new(),
            position: 0,
        })
    }

    /// What was read and not taken yet; nothing at the end.
    fn rest(&mut self) -> Result<&[u8], Failure> {
        while self.position == self.plain.len() {
            let Some(chunk) = self.chunks.next() else {
                return Ok(&[]);
            };
            self.plain.clear();
            self.position = 0;
            let mut result = Ok(());
            let plain = &mut self.plain;
            self.reader.read_at_once(&[*chunk], |_, read| match read {
                Ok(read) => plain.extend_from_slice(read),
                Err(error) => result = Err(error),
            });
            result?;
        }
        Ok(self.plain.get(self.position..).unwrap_or_default())
    }
}
