//! `borg recreate`

use std::collections::HashSet;

use borg::{Access, Archives, ChunkReader, Item, Recompress, Recreate};
use bstr::{BString, ByteSlice};

use super::arguments::Arguments;
use super::create::{chunker_params, compression};
use super::fail::Failure;
use super::matcher::Matcher;
use super::place::{archive_name, placeholders};
use super::session::Session;
use super::{print, stats, text};

/// Begins the file that tags a cache, and its name.
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

/// Names of archives that are being made.
const UNFINISHED: &str = ".recreate";

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.spot(arguments)?;
    let target = arguments.text("target");
    let target = target
        .map(|name| archive_name(&name, session.now))
        .transpose()?;
    let comment = arguments.text("comment");
    let comment = comment
        .map(|text| placeholders(&text, session.now))
        .transpose()?;
    let job = Job {
        session,
        arguments,
        matcher: Matcher::of(arguments)?,
        comment: comment.map(Into::into),
        target: target.clone().map(Into::into),
        params: chunker_params(arguments)?,
        compression: compression(arguments)?.unwrap_or_default(),
        time: arguments.read("timestamp", text::timestamp)?,
        recompress: match arguments.text("recompress").as_deref() {
            None | Some("never") => Recompress::Never,
            Some("if-different") => Recompress::IfDifferent,
            Some("always") => Recompress::Always,
            Some(other) => {
                return Err(Failure::usage(format!(
                    "argument --recompress: invalid choice: '{other}' (choose from never, if-different, always)"
                )));
            }
        },
    };
    if spot.archive.is_none() && target.is_some() {
        return Err(Failure::command("--target: Need to specify single archive"));
    }
    let mut archives = session.open(&spot, Access::Write)?;
    let check = archives.manifest().check_features(borg::Operation::Check);
    check.map_err(borg::Error::from)?;
    if let Some(name) = &spot.archive {
        if name.ends_with(UNFINISHED) {
            return Err(Failure::command(format!(
                "Refusing to work on temporary archive of prior recreate: {name}"
            )));
        }
        if !job.recreate(&mut archives, name.as_bytes())? {
            return Err(Failure::command(
                "Nothing to do. Archive was not processed.\nSpecify at least one pattern, PATH, --comment, re-compression or re-chunking option.",
            ));
        }
        return Ok(());
    }
    let names: Vec<BString> = archives
        .list()
        .into_iter()
        .map(|(name, _)| name.into())
        .collect();
    for name in names
        .iter()
        .filter(|name| !name.ends_with(UNFINISHED.as_bytes()))
    {
        session.go_on()?;
        print(format!("Processing {}\n", text::path(name)).as_bytes())?;
        if !job.recreate(&mut archives, name)? {
            let message = format!(
                "Skipped archive {}: Nothing to do. Archive was not processed.",
                text::path(name)
            );
            session.log.info(&message);
        }
    }
    Ok(())
}

struct Job<'a> {
    session: &'a Session,
    arguments: &'a Arguments,
    matcher: Matcher,
    comment: Option<BString>,
    target: Option<BString>,
    params: Option<borg::ChunkerParams>,
    compression: borg::Compression,
    time: Option<jiff::Timestamp>,
    recompress: Recompress,
}

impl Job<'_> {
    /// Makes one archive anew; whether there was anything to do.
    fn recreate(&self, archives: &mut Archives, name: &[u8]) -> Result<bool, Failure> {
        let archive = archives.archive(name)?;
        let tagged = self.tagged(archives, &archive)?;
        let rechunks = self.params.is_some() && self.params != archive.chunker_params;
        let is_idle = self.matcher.takes_all()
            && tagged.is_empty()
            && self.recompress == Recompress::Never
            && !rechunks
            && self.comment.is_none();
        if is_idle {
            return Ok(false);
        }
        if rechunks {
            self.session.log.debug("Rechunking archive");
        }
        let is_dry = self.arguments.has("dry_run");
        let keep = |item: &Item| {
            let stays = self.matcher.matches(&item.path) && tagged.stays(&item.path);
            self.tell(item, stays, is_dry);
            stays
        };
        if is_dry {
            archives.items(&archive, |item| {
                keep(&item);
                Ok(())
            })?;
            return Ok(true);
        }
        let options = Recreate {
            keep: &keep,
            chunker_params: self.params,
            compression: self.compression.clone(),
            recompress: self.recompress,
            comment: self.comment.clone(),
            time: self.time,
            target: self.target.clone(),
            cmdline: self.session.cmdline.clone(),
        };
        let totals = archives.recreate(
            name.as_bstr(),
            &options,
            self.session.host(),
            self.session.now,
        )?;
        if self.arguments.has("stats") {
            let name = self
                .target
                .as_ref()
                .map_or(name, |target| target.as_slice());
            let info = archives.archive_info(name.as_bstr(), self.session.host())?;
            let sizes = [totals.size, totals.csize, info.unique_csize].map(stats::signed);
            for line in [
                stats::dashes(),
                stats::HEADER.to_owned(),
                stats::row(self.session, "This archive:", sizes),
                stats::dashes(),
            ] {
                self.session.log.requested("borg.output.stats", &line);
            }
        }
        Ok(true)
    }

    fn tell(&self, item: &Item, stays: bool, is_dry: bool) {
        if !self.arguments.has("list") {
            return;
        }
        let status = match (stays, is_dry) {
            (false, _) => 'x',
            (true, true) => '-',
            (true, false) => text::status_of_mode(item.mode),
        };
        let filter = self.arguments.text("filter");
        if filter.is_none_or(|filter| filter.contains(status)) {
            self.session.log.file_status(status, &item.path);
        }
    }

    /// The folders that are to be left out for what is in them.
    fn tagged(&self, archives: &Archives, archive: &borg::Archive) -> Result<Tagged, Failure> {
        let caches = self.arguments.has("exclude_caches");
        let names = self.arguments.all("exclude_if_present");
        let mut tagged = Tagged {
            keeps_tags: self.arguments.has("keep_exclude_tags"),
            ..Tagged::default()
        };
        if !caches && names.is_empty() {
            return Ok(tagged);
        }
        let mut possible = Vec::new();
        let mut firsts = std::collections::HashMap::new();
        archives.items(archive, |item| {
            if item.hardlink_master == Some(true) {
                firsts.insert(item.path.clone(), item.chunks.clone());
            }
            let name = item
                .path
                .rsplit_once_str("/")
                .map_or(item.path.as_bstr(), |(_, name)| name.as_bstr());
            if names
                .iter()
                .any(|tag| tag.as_encoded_bytes() == name.as_bytes())
            {
                tagged.note(&item.path);
            } else if caches && name.as_bytes() == CACHE_TAG_NAME {
                let chunks = match (&item.chunks, &item.source) {
                    (Some(chunks), _) => Some(chunks.clone()),
                    (None, Some(source)) => firsts.get(source).cloned().flatten(),
                    (None, None) => None,
                };
                possible.push((item.path.clone(), chunks.unwrap_or_default()));
            }
            Ok(())
        })?;
        let mut reader = ChunkReader::new(archives)?;
        for (path, chunks) in possible {
            let mut is_tag = false;
            reader.read_at_once(chunks.get(..1).unwrap_or_default(), |_, plain| {
                is_tag = plain.is_ok_and(|plain| plain.starts_with(CACHE_TAG));
            });
            if is_tag {
                tagged.note(&path);
            }
        }
        Ok(tagged)
    }
}

/// Folders, and what in them says that they are to be left out.
#[derive(Default)]
struct Tagged {
    folders: HashSet<BString>,
    tags: HashSet<BString>,
    keeps_tags: bool,
}

impl Tagged {
    fn note(&mut self, tag: &BString) {
        let (folder, _) = tag.rsplit_once_str("/").unwrap_or((b"", tag));
        self.folders.insert(folder.into());
        self.tags.insert(tag.clone());
    }

    fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    fn stays(&self, path: &BString) -> bool {
        if self.folders.is_empty() {
            return true;
        }
        let above = |set: &HashSet<BString>| {
            let mut part: &[u8] = path;
            loop {
                if set.contains(part.as_bstr()) {
                    return true;
                }
                match part.rsplit_once_str("/") {
                    Some((outer, _)) => part = outer,
                    None => return false,
                }
            }
        };
        if !above(&self.folders) {
            return true;
        }
        self.keeps_tags && (self.folders.contains(path) || above(&self.tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tagged_folder_goes_with_all_that_is_in_it() {
        let mut tagged = Tagged::default();
        tagged.note(&"a/b/TAG".into());
        let stays = |tagged: &Tagged, path: &str| tagged.stays(&path.into());
        assert!(stays(&tagged, "a"));
        assert!(!stays(&tagged, "a/b"));
        assert!(!stays(&tagged, "a/b/c/d"));
        assert!(stays(&tagged, "a/bb"));
        tagged.keeps_tags = true;
        assert!(stays(&tagged, "a/b"));
        assert!(stays(&tagged, "a/b/TAG/x"));
        assert!(!stays(&tagged, "a/b/c"));
    }
}
