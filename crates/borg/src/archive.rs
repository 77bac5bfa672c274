//! The archive object: what an archive says of itself, and where its items are.

use bstr::BString;

use crate::msgpack::{Malformed, MapWriter, Others, Reader, fill, required};
use crate::tam::{self, BadTam, Purpose, TAM_SIZE, Tam};
use crate::{ChunkRef, ChunkerParams, Id, Key, Timestamp};

/// Most words of a command line that are kept apart; far more than a system can pass.
const WORDS_MAX: usize = 1 << 18;

/// One archive, without its items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Its name, as in the manifest.
    pub name: BString,
    /// What a person wrote about it. Absent in archives of Borg 1.0.
    pub comment: Option<BString>,
    /// The chunks of the stream of items, in order.
    pub items: Vec<Id>,
    /// The command line that made it.
    pub cmdline: Vec<BString>,
    /// The command line that made it out of another archive.
    pub recreate_cmdline: Option<Vec<BString>>,
    /// On which machine it was made.
    pub hostname: Option<BString>,
    /// Who made it.
    pub username: Option<BString>,
    /// In which folder it was made. Absent in archives of old.
    pub cwd: Option<BString>,
    /// When it was begun.
    pub time: Timestamp,
    /// When it was complete.
    pub time_end: Option<Timestamp>,
    /// How files were cut. Absent in archives of Borg's ancestor.
    pub chunker_params: Option<ChunkerParams>,
    /// Sums over the items. Archives from before Borg 1.2 have none.
    pub totals: Option<Totals>,
    /// What else there is, as it was read.
    pub(crate) others: Others,
    /// The parameters as they were read, when they were spelt in the way of old.
    pub(crate) params_spelling: Option<Vec<u8>>,
}

/// Sums over the items of an archive. Those with `parts` are about what checkpoints have added:
/// parts of files that are there as a whole, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Plain bytes of all files.
    pub size: u64,
    /// Bytes that they would take without deduplication.
    pub csize: u64,
    /// Number of files.
    pub nfiles: u64,
    /// Plain bytes of parts of files.
    pub size_parts: u64,
    /// Bytes that parts of files would take without deduplication.
    pub csize_parts: u64,
    /// Number of parts of files.
    pub nfiles_parts: u64,
}

impl Totals {
    /// Counts a file.
    pub(crate) fn add_file(&mut self, chunks: &[ChunkRef]) {
        let (size, csize) = sizes(chunks);
        self.size += size;
        self.csize += csize;
        self.nfiles += 1;
    }

    /// Counts what others have counted.
    pub(crate) fn add(&mut self, others: &Self) {
        self.size += others.size;
        self.csize += others.csize;
        self.nfiles += others.nfiles;
        self.size_parts += others.size_parts;
        self.csize_parts += others.csize_parts;
        self.nfiles_parts += others.nfiles_parts;
    }

    /// Counts so many parts of a file, and the chunks of all of them.
    pub(crate) fn add_parts(&mut self, chunks: &[ChunkRef], parts: u64) {
        let (size, csize) = sizes(chunks);
        self.size_parts += size;
        self.csize_parts += csize;
        self.nfiles_parts += parts;
    }
}

/// Plain and stored bytes.
pub(crate) fn sizes(chunks: &[ChunkRef]) -> (u64, u64) {
    chunks.iter().fold((0, 0), |(size, csize), chunk| {
        (size + u64::from(chunk.size), csize + u64::from(chunk.csize))
    })
}

/// Version of the archive object.
const VERSION: u64 = 1;

impl Archive {
    /// An archive that has nothing but a name and a time.
    #[must_use]
    pub fn new(name: impl Into<BString>, time: Timestamp) -> Self {
        Self {
            name: name.into(),
            comment: Some(BString::default()),
            items: Vec::new(),
            cmdline: Vec::new(),
            recreate_cmdline: None,
            hostname: None,
            username: None,
            cwd: None,
            time,
            time_end: None,
            chunker_params: None,
            totals: None,
            others: Others::new(),
            params_spelling: None,
        }
    }

    /// Checks the authentication of an archive object and reads it.
    ///
    /// For a long time archives were not authenticated, so who reads does not ask for it; who
    /// checks, repairs or prunes by what is in them does.
    ///
    /// # Errors
    ///
    /// [`BadTam`]: wrong authentication is always an error, a missing one if it is `required`.
    pub fn open(key: &Key, packed: &[u8], required: bool) -> Result<(Self, Tam), BadTam> {
        let tam = tam::verify(key, Purpose::Archive, packed, required)?;
        Ok((Self::read(packed)?, tam))
    }

    /// Reads an archive object without regard to its authentication.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when it is no map, lacks a key that every archive has, has one twice or with
    /// a value of the wrong kind, or is of another version.
    pub fn read(packed: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(packed);
        let r = &mut reader;
        let (mut version, mut name, mut comment, mut items) = (None, None, None, None);
        let (mut cmdline, mut recreate_cmdline, mut params) = (None, None, None);
        let (mut hostname, mut username, mut cwd) = (None, None, None);
        let (mut time, mut time_end, mut tam) = (None, None, None);
        let (mut totals, mut others) = ([None; 6], Others::new());
        for _ in 0..r.map()? {
            let key = r.raw()?;
            if let Some(index) = TOTALS.iter().position(|total| total.as_bytes() == key)
                && let (Some(place), Some(key)) = (totals.get_mut(index), TOTALS.get(index))
            {
                fill(place, r.unsigned()?, key)?;
                continue;
            }
            match key {
                b"version" => {
                    let start = r.clone();
                    fill(&mut version, r.unsigned()?, "version")?;
                    if version != Some(VERSION) {
                        return Err(start.unexpected("version 1 of an archive"));
                    }
                }
                b"name" => fill(&mut name, r.raw()?.into(), "name")?,
                b"comment" => fill(&mut comment, r.raw()?.into(), "comment")?,
                b"items" => fill(&mut items, ids(r)?, "items")?,
                b"cmdline" => fill(&mut cmdline, words(r)?, "cmdline")?,
                b"recreate_cmdline" => {
                    fill(&mut recreate_cmdline, words(r)?, "recreate_cmdline")?;
                }
                b"hostname" => fill(&mut hostname, r.raw()?.into(), "hostname")?,
                b"username" => fill(&mut username, r.raw()?.into(), "username")?,
                b"cwd" => fill(&mut cwd, r.raw()?.into(), "cwd")?,
                b"time" => fill(&mut time, Timestamp::read(r)?, "time")?,
                b"time_end" => fill(&mut time_end, Timestamp::read(r)?, "time_end")?,
                b"chunker_params" => fill(&mut params, r.encoded()?, "chunker_params")?,
                b"tam" => fill(&mut tam, r.encoded()?, "tam")?,
                key => r.other(key, &mut others)?,
            }
        }
        r.end()?;
        required(version, "version")?;
        let chunker_params = params
            .map(|params| ChunkerParams::read(&mut Reader::new(params)))
            .transpose()?;
        let mut archive = Self {
            name: required(name, "name")?,
            comment,
            items: required(items, "items")?,
            cmdline: required(cmdline, "cmdline")?,
            recreate_cmdline,
            hostname,
            username,
            cwd,
            time: required(time, "time")?,
            time_end,
            chunker_params,
            totals: None,
            others,
            params_spelling: params.map(<[u8]>::to_vec),
        };
        match totals {
            [
                Some(size),
                Some(csize),
                Some(nfiles),
                Some(size_parts),
                Some(csize_parts),
                Some(nfiles_parts),
            ] => {
                archive.totals = Some(Totals {
                    size,
                    csize,
                    nfiles,
                    size_parts,
                    csize_parts,
                    nfiles_parts,
                });
            }
            // Some of them mean nothing without the rest.
            _ => {
                for (key, total) in TOTALS.into_iter().zip(totals) {
                    if let Some(total) = total {
                        let mut value = Vec::new();
                        crate::msgpack::Writer::new(&mut value).unsigned(total);
                        archive.others.insert(key.into(), value);
                    }
                }
            }
        }
        Ok(archive)
    }

    /// Writes the archive object, authenticated.
    ///
    /// Equal archives with equal salts have equal bytes, the same as the stock program's. The
    /// salt of a new archive is random.
    #[must_use]
    pub fn pack(&self, key: &Key, salt: &[u8; TAM_SIZE]) -> Vec<u8> {
        let mut packed = Vec::with_capacity(1024 + 36 * self.items.len());
        let mut map = MapWriter::new(&mut packed, &self.others);
        if let Some(params) = self.chunker_params {
            // The spelling of old stays what it was, unless it means something else by now.
            let spelling = self
                .params_spelling
                .as_deref()
                .filter(|spelling| ChunkerParams::read(&mut Reader::new(spelling)) == Ok(params));
            let mut w = map.key("chunker_params");
            match spelling {
                Some(spelling) => w.encoded(spelling),
                None => params.write(&mut w),
            }
        }
        write_words(&mut map, "cmdline", Some(&self.cmdline));
        let total = |map: &mut MapWriter<'_>, key, value: fn(&Totals) -> u64| {
            if let Some(totals) = &self.totals {
                map.key(key).unsigned(value(totals));
            }
        };
        let text = |map: &mut MapWriter<'_>, key, value: Option<&[u8]>| {
            if let Some(value) = value {
                map.key(key).raw(value);
            }
        };
        text(
            &mut map,
            "comment",
            self.comment.as_deref().map(Vec::as_slice),
        );
        total(&mut map, "csize", |totals| totals.csize);
        total(&mut map, "csize_parts", |totals| totals.csize_parts);
        text(&mut map, "cwd", self.cwd.as_deref().map(Vec::as_slice));
        text(
            &mut map,
            "hostname",
            self.hostname.as_deref().map(Vec::as_slice),
        );
        let mut w = map.key("items");
        w.array(self.items.len());
        for id in &self.items {
            w.raw(id.0);
        }
        map.key("name").raw(&self.name);
        total(&mut map, "nfiles", |totals| totals.nfiles);
        total(&mut map, "nfiles_parts", |totals| totals.nfiles_parts);
        write_words(&mut map, "recreate_cmdline", self.recreate_cmdline.as_ref());
        total(&mut map, "size", |totals| totals.size);
        total(&mut map, "size_parts", |totals| totals.size_parts);
        let hmac_at = tam::write(&mut map.key("tam"), salt);
        map.key("time").raw(self.time.as_str());
        let time_end = self.time_end.as_ref();
        text(
            &mut map,
            "time_end",
            time_end.map(|time| time.as_str().as_bytes()),
        );
        text(
            &mut map,
            "username",
            self.username.as_deref().map(Vec::as_slice),
        );
        map.key("version").unsigned(VERSION);
        let moved = map.finish();
        tam::sign(key, Purpose::Archive, salt, &mut packed, hmac_at + moved);
        packed
    }

    /// Keys of this archive that archives of Borg 1.x do not have.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &[u8]> {
        let known = |key: &&[u8]| {
            TOTALS
                .iter()
                .chain(&KEYS_OF_BETAS)
                .any(|known| known.as_bytes() == *key)
        };
        self.others
            .keys()
            .map(Vec::as_slice)
            .filter(move |key| !known(key))
    }
}

/// Keys of [`Totals`], in the order of its fields.
const TOTALS: [&str; 6] = [
    "size",
    "csize",
    "nfiles",
    "size_parts",
    "csize_parts",
    "nfiles_parts",
];

/// Keys that beta versions of Borg 1.1 wrote.
///
/// Source: `ARCHIVE_KEYS` in Borg 1.4's `constants.py`.
const KEYS_OF_BETAS: [&str; 3] = [
    "recreate_source_id",
    "recreate_args",
    "recreate_partial_chunks",
];

fn ids(reader: &mut Reader<'_>) -> Result<Vec<Id>, Malformed> {
    let length = reader.array()?;
    if length > reader.rest().len() / 34 {
        return Err(Malformed::Truncated);
    }
    (0..length).map(|_| Ok(Id(*reader.raw_array()?))).collect()
}

fn words(reader: &mut Reader<'_>) -> Result<Vec<BString>, Malformed> {
    let start = reader.clone();
    // Programs that made archives by themselves wrote one text rather than a list.
    if let Ok(text) = reader.clone().raw() {
        reader.skip()?;
        return Ok(vec![text.into()]);
    }
    let length = reader.array()?;
    if length > WORDS_MAX {
        return Err(start.unexpected("a shorter command line"));
    }
    (0..length).map(|_| Ok(reader.raw()?.into())).collect()
}

fn write_words(map: &mut MapWriter<'_>, key: &str, words: Option<&Vec<BString>>) {
    if let Some(words) = words {
        let mut w = map.key(key);
        w.array(words.len());
        for word in words {
            w.raw(word);
        }
    }
}
