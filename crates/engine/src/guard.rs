//! A guard against ransomware, and against an empty folder where a drive should be.
//!
//! Each complete reading of the sources leaves a sketch of them: of all files those whose paths come
//! first in an order that is as good as random, each with its size, its time and whether its content
//! looks like noise. The next reading is compared with it. What is true of the sketch is true of all
//! files within a few percent, of thousands as of millions, and no list of all files is needed.
//!
//! When too many files are gone, have other names or have become noise, an alarm is raised. While it
//! stands nothing old is removed from any layer, for the snapshots from before may be all that is left;
//! backups go on, since they only add. Only a person ends it.
//!
//! The alarm is written before the new sketch: a crash between the two compares with the old sketch
//! once more, and raises it again. Where the alarm cannot be read, it counts as standing.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tree::{Body, Entry, Step};

use crate::event::PathRecord;
use crate::sample::place;
use crate::{Config, Error, Machine, config, replace_private_file};

/// Most files in a sketch. A share of a quarter is then known to 1.4 percent (one standard deviation).
const FILES_MAX: usize = 1024;

/// Most files that an alarm names for each sign.
const EXAMPLES_MAX: usize = 5;

/// Bytes at the beginning of a file that are looked at, and the fewest of which anything can be said.
const LOOK_MAX: usize = 4096;
const LOOK_MIN: usize = 1024;

/// Pearson's chi-squared of noise is 255 on average, with a standard deviation of 22.6; what people and
/// programs write has thousands.
const NOISE_CHI_SQUARED_MAX: f64 = 400.0;

/// Why nothing old is removed any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// When it was raised.
    pub since: Timestamp,
    /// When the sources were last read before: what was there then, the snapshots up to then hold.
    pub good_until: Timestamp,
    /// What was seen, at least one; empty when the alarm itself cannot be read.
    pub signs: Vec<Sign>,
}

/// One thing that looks wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sign {
    /// What happened to the files.
    pub what: Change,
    /// To how many, about.
    pub files: u64,
    /// How many there were before.
    pub of_files: u64,
    /// How many in a hundred that is.
    pub percent: u8,
    /// Some of them.
    pub examples: Vec<PathRecord>,
}

/// What may happen to many files at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// They are gone.
    Deleted,
    /// They are gone, and as many with other names are new.
    Renamed,
    /// Their content was something, and is noise now.
    Scrambled,
}

impl fmt::Display for Alarm {
    /// `31,204 of 52,117 files are gone, …`, without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.signs.is_empty() {
            return f.write_str("the file with the alarm cannot be read");
        }
        for (index, sign) in self.signs.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let what = match sign.what {
                Change::Deleted => "are gone",
                Change::Renamed => "have another name or place",
                Change::Scrambled => "look encrypted",
            };
            let (files, of_files, percent) = (sign.files, sign.of_files, sign.percent);
            write!(
                f,
                "{separator}about {files} of {of_files} files ({percent} %) {what}"
            )?;
        }
        Ok(())
    }
}

fn alarm_file(machine: &Machine) -> PathBuf {
    machine.places.state.join("guard-alarm.json")
}

fn sketch_file(machine: &Machine) -> PathBuf {
    machine.places.state.join("guard-sketch.json")
}

/// The alarm that stands on this machine, if one does.
#[must_use]
pub fn alarm(machine: &Machine) -> Option<Alarm> {
    let unreadable = Alarm {
        since: machine.now().timestamp(),
        good_until: machine.now().timestamp(),
        signs: Vec::new(),
    };
    match fs::read(alarm_file(machine)) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap_or(unreadable)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(unreadable),
    }
}

/// Ends the alarm, because a person has seen that all is well. Gives the one that stood.
///
/// # Errors
///
/// [`Error::State`] when its file cannot be removed: it stands.
pub fn go_on(machine: &Machine) -> Result<Option<Alarm>, Error> {
    let alarm = alarm(machine);
    let path = alarm_file(machine);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::State {
            action: "remove",
            path,
            source,
        }),
        _ => Ok(alarm),
    }
}

/// Refuses what removes something old, while an alarm stands.
pub(crate) fn check(machine: &Machine) -> Result<(), Error> {
    alarm(machine).map_or(Ok(()), |alarm| Err(Error::Guarded { alarm }))
}

/// One file of a sketch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    #[serde(flatten)]
    path: PathRecord,
    size: u64,
    modified_ns: i64,
    /// Whether its content looks like noise; unknown where it was not read, or is short.
    noise: Option<bool>,
}

/// What a reading has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sketch {
    /// Which sources were read: others cannot be compared.
    sources: String,
    at: Timestamp,
    files: u64,
    seen: Vec<Seen>,
}

/// Watches one reading of the sources.
#[derive(Debug)]
pub(crate) struct Watcher {
    settings: config::Guard,
    sources: String,
    /// The last sketch, when it is one of these sources.
    before: Option<Sketch>,
    known: BTreeMap<u64, Seen>,
    /// Places up to here would have been in the last sketch.
    limit: u64,
    now: BTreeMap<u64, Seen>,
    files: u64,
    /// The file that is being read, and its place.
    open: Option<(u64, Arc<Entry>)>,
    /// Files that were not there before, as far as the last sketch would have known of them.
    new: u64,
    new_noise: Vec<PathRecord>,
    new_noise_count: u64,
    /// Files of the last sketch that are here, and whether they became noise.
    met: BTreeMap<u64, bool>,
}

impl Watcher {
    /// Reads what the last reading has left. What cannot be read is begun anew.
    pub(crate) fn new(config: &Config, machine: &Machine) -> Self {
        let sources = fingerprint(config);
        let read = fs::read(sketch_file(machine)).ok();
        let before: Option<Sketch> = read
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .filter(|sketch: &Sketch| sketch.sources == sources);
        let seen = before.iter().flat_map(|sketch| sketch.seen.clone());
        let known: BTreeMap<u64, Seen> = seen
            .filter_map(|seen| Some((place(&seen.path.to_path()?), seen)))
            .take(FILES_MAX)
            .collect();
        let is_full = known.len() >= FILES_MAX;
        let last = known.last_key_value().map_or(u64::MAX, |(&last, _)| last);
        Self {
            settings: config.guard,
            sources,
            before,
            limit: if is_full { last } else { u64::MAX },
            known,
            now: BTreeMap::new(),
            files: 0,
            open: None,
            new: 0,
            new_noise: Vec::new(),
            new_noise_count: 0,
            met: BTreeMap::new(),
        }
    }

    /// Looks at a step of the reading; `place` is where a regular file stands in the order of paths.
    pub(crate) fn see(&mut self, step: &Step, place: Option<u64>) {
        match step {
            Step::Entry { entry, body } => {
                self.open = None;
                let Some(place) = place else {
                    return;
                };
                if !self.meet(entry, place) {
                    return;
                }
                match body {
                    Body::Whole(block) => self.look(place, entry, block),
                    Body::Blocks => self.open = Some((place, Arc::clone(entry))),
                    Body::None => {}
                }
            }
            // The beginning says enough.
            Step::Data(block) => {
                if let Some((place, entry)) = self.open.take() {
                    self.look(place, &entry, block);
                }
            }
            Step::Hole(_) | Step::End(_) => self.open = None,
            Step::Problem(_) => {}
        }
    }

    /// Takes a file in. Says whether its content is worth a look.
    fn meet(&mut self, entry: &Entry, place: u64) -> bool {
        self.files += 1;
        let old = self.known.get(&place);
        if old.is_some() {
            self.met.entry(place).or_insert(false);
        } else if place <= self.limit {
            self.new += 1;
        }
        let last = self.now.last_key_value();
        let belongs = self.now.len() < FILES_MAX || last.is_some_and(|(&last, _)| place <= last);
        if belongs {
            let seen = Seen {
                path: PathRecord::from(&entry.path),
                size: entry.size,
                modified_ns: entry.mtime.nanoseconds,
                noise: old
                    .filter(|old| !has_changed(old, entry))
                    .and_then(|old| old.noise),
            };
            self.now.insert(place, seen);
            if self.now.len() > FILES_MAX {
                self.now.pop_last();
            }
        }
        belongs || place <= self.limit
    }

    fn look(&mut self, place: u64, entry: &Entry, content: &[u8]) {
        let noise = is_noise(content);
        if let Some(seen) = self.now.get_mut(&place) {
            seen.noise = noise;
        }
        if noise != Some(true) {
            return;
        }
        match self.known.get(&place) {
            Some(old) => {
                // One that was never looked at may always have been noise, unless it was written to.
                let turned =
                    old.noise == Some(false) || old.noise.is_none() && has_changed(old, entry);
                self.met.insert(place, turned);
            }
            None if place <= self.limit => {
                self.new_noise_count += 1;
                if self.new_noise.len() < EXAMPLES_MAX {
                    self.new_noise.push(PathRecord::from(&entry.path));
                }
            }
            None => {}
        }
    }

    /// Judges a reading that came to its end, raises the alarm where it must be, and leaves a sketch
    /// for the next. Gives the alarm that stands now.
    pub(crate) fn conclude(self, machine: &Machine) -> Option<Alarm> {
        let now = machine.now().timestamp();
        let standing = alarm(machine);
        let raised = match (&standing, &self.before) {
            // The first word counts: it tells since when.
            (None, Some(before)) => Some(self.signs(before.files))
                .filter(|signs| !signs.is_empty())
                .map(|signs| Alarm {
                    since: now,
                    good_until: before.at,
                    signs,
                }),
            _ => None,
        };
        if let Some(alarm) = &raised {
            let text = serde_json::to_vec(alarm).unwrap_or_default();
            if replace_private_file(&alarm_file(machine), &text).is_err() {
                // The old sketch stays, and so the next reading raises it again.
                return raised;
            }
        }
        let sketch = Sketch {
            sources: self.sources,
            at: now,
            files: self.files,
            seen: self.now.into_values().collect(),
        };
        // Without it the next reading is not judged, which costs no backup.
        let text = serde_json::to_vec(&sketch).unwrap_or_default();
        let _ = replace_private_file(&sketch_file(machine), &text);
        raised.or(standing)
    }

    /// What looks wrong, compared with a sketch of so many files.
    fn signs(&self, of_files: u64) -> Vec<Sign> {
        let sampled = self.known.len() as u64;
        if of_files < u64::from(self.settings.files) || sampled == 0 {
            return Vec::new();
        }
        let gone = sampled - self.met.len() as u64;
        let renamed = gone.min(self.new);
        let turned = self.met.values().filter(|&&turned| turned).count() as u64;
        // What is only added to does no harm: new noise counts where something went for it.
        let scrambled = turned + self.new_noise_count.min(gone);
        let paths = |wanted: &dyn Fn(&u64) -> bool| -> Vec<PathRecord> {
            let all = self.known.iter().filter(|(place, _)| wanted(place));
            all.map(|(_, seen)| seen.path.clone())
                .take(EXAMPLES_MAX)
                .collect()
        };
        let lost = || paths(&|place| !self.met.contains_key(place));
        let spoilt = || {
            let mut paths = paths(&|place| self.met.get(place) == Some(&true));
            paths.extend(self.new_noise.iter().cloned());
            paths.truncate(EXAMPLES_MAX);
            paths
        };
        let sign = |what, count: u64, percent_max: Option<u8>, examples: &dyn Fn() -> Vec<_>| {
            let percent = u8::try_from((100 * count / sampled).min(100)).unwrap_or(100);
            let is_too_much = count > 0 && percent_max.is_some_and(|max| percent >= max);
            is_too_much.then(|| Sign {
                what,
                files: (u128::from(of_files) * u128::from(count) / u128::from(sampled))
                    .try_into()
                    .unwrap_or(of_files),
                of_files,
                percent,
                examples: examples(),
            })
        };
        [
            sign(
                Change::Deleted,
                gone - renamed,
                self.settings.deleted,
                &lost,
            ),
            sign(Change::Renamed, renamed, self.settings.renamed, &lost),
            sign(
                Change::Scrambled,
                scrambled,
                self.settings.scrambled,
                &spoilt,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn has_changed(old: &Seen, entry: &Entry) -> bool {
    old.size != entry.size || old.modified_ns != entry.mtime.nanoseconds
}

/// Stands for the sources of a configuration: what was taken out of them on purpose is no loss.
fn fingerprint(config: &Config) -> String {
    let mut hasher = Sha256::new();
    for setting in &config.settings {
        if setting.key.starts_with("source") {
            hasher.update(format!("{} = {}\n", setting.key, setting.value));
        }
    }
    hex::encode(hasher.finalize())
}

/// How files begin that are compressed, and so look like noise but for this.
const MAGIC: [(usize, &[u8]); 24] = [
    (0, b"PK\x03\x04"),
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG"),
    (0, b"%PDF"),
    (0, b"\x1f\x8b"),
    (0, b"\x28\xb5\x2f\xfd"),
    (0, b"\x04\x22\x4d\x18"),
    (0, b"BZh"),
    (0, b"\xfd7zXZ"),
    (0, b"7z\xbc\xaf"),
    (0, b"Rar!"),
    (0, b"GIF8"),
    (0, b"RIFF"),
    (0, b"OggS"),
    (0, b"fLaC"),
    (0, b"ID3"),
    (0, b"\xff\xfb"),
    (0, b"\x1a\x45\xdf\xa3"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (4, b"ftyp"),
    (0, b"wOF"),
    (0, b"\x7fELF"),
    (0, b"SQLite"),
];

/// Whether a file that begins so looks like nothing that a program wrote: encrypted, then. `None` when
/// that is too little to say.
fn is_noise(content: &[u8]) -> Option<bool> {
    let content = content.get(..LOOK_MAX).unwrap_or(content);
    if content.len() < LOOK_MIN {
        return None;
    }
    let is_known = |&(at, magic): &(usize, &[u8])| {
        content
            .get(at..)
            .is_some_and(|content| content.starts_with(magic))
    };
    if MAGIC.iter().any(is_known) {
        return Some(false);
    }
    let mut counts = [0_u32; 256];
    for &byte in content {
        counts[usize::from(byte)] += 1;
    }
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let expected = f64::from(length) / 256.0;
    let squares = counts.iter().map(|&count| {
        let off = f64::from(count) - expected;
        off * off / expected
    });
    Some(squares.sum::<f64>() <= NOISE_CHI_SQUARED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_told_from_text_programs_and_what_is_compressed() {
        let mut noise = vec![0; 8192];
        getrandom::fill(&mut noise).unwrap();
        assert_eq!(is_noise(&noise), Some(true));
        assert_eq!(is_noise(&noise[..2048]), Some(true));
        assert_eq!(is_noise(&noise[..1000]), None, "too short to say");
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
        assert_eq!(is_noise(text.as_bytes()), Some(false));
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(is_noise(&program), Some(false));
        let mut photo = noise;
        photo[..3].copy_from_slice(b"\xff\xd8\xff");
        assert_eq!(is_noise(&photo), Some(false));
        let counting: Vec<u8> = (0..=255).cycle().take(4096).collect();
        assert_eq!(
            is_noise(&counting),
            Some(true),
            "even, and so noise to this test"
        );
    }

    #[test]
    fn an_alarm_is_one_sentence_with_its_figures() {
        let sign = |what, files, percent| Sign {
            what,
            files,
            of_files: 400,
            percent,
            examples: Vec::new(),
        };
        let alarm = Alarm {
            since: Timestamp::UNIX_EPOCH,
            good_until: Timestamp::UNIX_EPOCH,
            signs: vec![
                sign(Change::Renamed, 200, 50),
                sign(Change::Scrambled, 100, 25),
            ],
        };
        assert_eq!(
            alarm.to_string(),
            "about 200 of 400 files (50 %) have another name or place; \
             about 100 of 400 files (25 %) look encrypted"
        );
        let json = serde_json::to_string(&alarm).unwrap();
        assert_eq!(serde_json::from_str::<Alarm>(&json).unwrap(), alarm);
    }
}
