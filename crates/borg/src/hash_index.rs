//! The hash table that Borg keeps its index and its chunks cache in, in memory as in the file.
//!
//! ```text
//! BORG_IDX | entries i32 | buckets i32 | key size i8 | value size i8 | buckets × (key | value)
//! ```
//!
//! Keys are ids, values a few words of 32 bits, all little-endian. A key is looked for from the
//! bucket that its first four bytes lead to, onwards to the first empty bucket. Two values of
//! the first word are no values: one marks an empty bucket, one a bucket whose entry was
//! removed and behind which the search must go on.
//!
//! The table *is* the image of the file, so that loading is one read and saving one write. Ids
//! are hashes already; keyed ones cannot be chosen by an attacker to collide.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crate::Id;
use crate::integrity::{Digests, Expected};

const MAGIC: &[u8; 8] = b"BORG_IDX";
const HEADER_SIZE: usize = 18;
const KEY_SIZE: usize = 32;
const WORD_SIZE: usize = 4;

/// Marks a bucket that was never used.
const EMPTY: u32 = 0xffff_ffff;
/// Marks a bucket whose entry was removed.
const REMOVED: u32 = 0xffff_fffe;

/// The largest first word of a value; those above are reserved.
///
/// Source: `MAX_VALUE` in Borg 1.4's `hashindex`.
pub const VALUE_MAX: u32 = 0xffff_fbff;

/// Buckets of the smallest table.
const BUCKETS_MIN: usize = 1031;

/// Why a file is no hash index that can be used. The caller rebuilds it.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It cannot be read.
    #[error("cannot read the index")]
    Io(#[from] io::Error),
    /// It does not have the form of an index.
    #[error("the index is malformed: {0}")]
    Malformed(&'static str),
    /// Its checksum is another one.
    #[error("the index is damaged: its checksum does not match")]
    Integrity,
}

/// A map from ids to `WORDS` words of 32 bits: two for the repository's index (segment and
/// offset), three for the chunks cache (references, size and stored size).
#[derive(Clone)]
pub struct HashIndex<const WORDS: usize> {
    /// The file: header and buckets. The header is filled in when it is saved.
    image: Vec<u8>,
    buckets: usize,
    used: usize,
    removed: usize,
}

impl<const WORDS: usize> Default for HashIndex<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> HashIndex<WORDS> {
    const VALUE_SIZE: usize = WORDS * WORD_SIZE;
    const BUCKET_SIZE: usize = KEY_SIZE + Self::VALUE_SIZE;

    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::with_buckets(BUCKETS_MIN)
    }

    /// An empty table that holds `count` entries before it grows.
    #[must_use]
    pub fn with_capacity(count: usize) -> Self {
        Self::with_buckets(next_prime(BUCKETS_MIN.max(count / 2 * 3)))
    }

    fn with_buckets(buckets: usize) -> Self {
        Self {
            // A bucket is empty when its first word has all bits set, so all may have.
            image: vec![0xff; HEADER_SIZE + buckets * Self::BUCKET_SIZE],
            buckets,
            used: 0,
            removed: 0,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Bytes of the file, which is also what it takes in memory.
    #[must_use]
    pub fn size(&self) -> usize {
        self.image.len()
    }

    /// The value of `id`.
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<[u32; WORDS]> {
        match self.find(id) {
            Found::At(bucket) => Some(self.value(bucket)),
            Found::Free(_) => None,
        }
    }

    /// Brings the buckets of some ids near the processor. All of them are fetched at once; whoever looks
    /// up one after the other in a large table waits for memory each time.
    pub(crate) fn warm(&self, ids: &[Id]) {
        let first_bytes = ids.iter().map(|id| {
            let bucket = self.bucket(self.home(id));
            bucket.first().copied().unwrap_or(0) ^ bucket.last().copied().unwrap_or(0)
        });
        std::hint::black_box(first_bytes.fold(0, |all, byte| all ^ byte));
    }

    /// Whether there is an entry for `id`.
    #[must_use]
    pub fn contains(&self, id: &Id) -> bool {
        matches!(self.find(id), Found::At(_))
    }

    /// Sets the value of `id` and gives the former one. The first word is at most [`VALUE_MAX`].
    pub fn insert(&mut self, id: &Id, value: [u32; WORDS]) -> Option<[u32; WORDS]> {
        debug_assert!(value[0] <= VALUE_MAX, "a reserved value");
        match self.find(id) {
            Found::At(bucket) => {
                let former = self.value(bucket);
                self.set_value(bucket, value);
                Some(former)
            }
            Found::Free(bucket) => {
                // A search must meet an empty bucket soon.
                if (self.used + self.removed + 1) * 4 > self.buckets * 3 {
                    self.rebuild(self.used + 1);
                    return self.insert(id, value);
                }
                if self.word(bucket) == REMOVED {
                    self.removed -= 1;
                }
                self.used += 1;
                let start = Self::start(bucket);
                self.image[start..start + KEY_SIZE].copy_from_slice(&id.0);
                self.set_value(bucket, value);
                None
            }
        }
    }

    /// Changes the value of `id` in place. False when there is none.
    pub fn update(&mut self, id: &Id, change: impl FnOnce(&mut [u32; WORDS])) -> bool {
        let Found::At(bucket) = self.find(id) else {
            return false;
        };
        let mut value = self.value(bucket);
        change(&mut value);
        debug_assert!(value[0] <= VALUE_MAX, "a reserved value");
        self.set_value(bucket, value);
        true
    }

    /// Removes the entry of `id` and gives its value.
    pub fn remove(&mut self, id: &Id) -> Option<[u32; WORDS]> {
        let Found::At(bucket) = self.find(id) else {
            return None;
        };
        let former = self.value(bucket);
        self.used -= 1;
        // No search goes on behind this bucket if it stops at the next one anyway.
        if self.word(self.after(bucket)) == EMPTY {
            self.set_word(bucket, EMPTY);
        } else {
            self.set_word(bucket, REMOVED);
            self.removed += 1;
        }
        if self.buckets > BUCKETS_MIN && self.used * 4 < self.buckets {
            self.rebuild(self.used);
        }
        Some(former)
    }

    /// All entries, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (Id, [u32; WORDS])> {
        (0..self.buckets).filter_map(|bucket| {
            let entry = self.bucket(bucket);
            let (key, value) = entry.split_first_chunk::<KEY_SIZE>()?;
            (word_at(value, 0) < REMOVED).then(|| (Id(*key), words(value)))
        })
    }

    /// Loads the index from a file and compares it with its digests, if they are known.
    ///
    /// `name` is the name that the file had when the digests were made.
    pub(crate) fn load(
        path: &Path,
        name: &str,
        expected: Option<&Expected>,
    ) -> Result<Self, IndexError> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut header = [0; HEADER_SIZE];
        file.read_exact(&mut header)?;
        let (entries, buckets) = Self::parse_header(&header)?;
        // Nothing is allocated because of a number that the file does not bear out.
        let image_size = buckets
            .checked_mul(Self::BUCKET_SIZE)
            .and_then(|size| size.checked_add(HEADER_SIZE))
            .filter(|&wanted| wanted as u64 == size)
            .ok_or(IndexError::Malformed("its length is not that of its table"))?;
        let mut image = Vec::with_capacity(image_size);
        image.extend_from_slice(&header);
        file.take(size).read_to_end(&mut image)?;
        if image.len() != image_size {
            return Err(IndexError::Malformed("it changed while it was read"));
        }
        if let Some(expected) = expected {
            let found = Digests::of(name, &image, Some(HEADER_SIZE));
            if !expected.allows(&found) {
                return Err(IndexError::Integrity);
            }
        }
        Self::from_image(image, entries, buckets)
    }

    /// Writes the index to an empty file that will be called `name`, and syncs it.
    pub(crate) fn save(&mut self, file: &mut File, name: &str) -> io::Result<Digests> {
        let too_large = |_| io::Error::other("the index is too large for its format");
        let entries = i32::try_from(self.used).map_err(too_large)?;
        let buckets = i32::try_from(self.buckets).map_err(too_large)?;
        let mut header = Vec::with_capacity(HEADER_SIZE);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&entries.to_le_bytes());
        header.extend_from_slice(&buckets.to_le_bytes());
        header.extend_from_slice(&Self::sizes());
        self.image[..HEADER_SIZE].copy_from_slice(&header);
        file.write_all(&self.image)?;
        let digests = Digests::of(name, &self.image, Some(HEADER_SIZE));
        file.sync_data()?;
        Ok(digests)
    }

    /// Key and value size, as the header has them.
    fn sizes() -> [u8; 2] {
        #[expect(clippy::cast_possible_truncation, reason = "a value has few words")]
        [KEY_SIZE as u8, Self::VALUE_SIZE as u8]
    }

    fn parse_header(header: &[u8; HEADER_SIZE]) -> Result<(usize, usize), IndexError> {
        let (magic, rest) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(IndexError::Malformed("it does not begin as one"));
        }
        if rest[8..] != Self::sizes() {
            return Err(IndexError::Malformed(
                "its keys or values are of another size",
            ));
        }
        // Negative numbers become huge, and no file is that long.
        let entries = word_at(rest, 0) as usize;
        let buckets = word_at(rest, 1) as usize;
        if buckets == 0 {
            return Err(IndexError::Malformed("it has no buckets"));
        }
        Ok((entries, buckets))
    }

    fn from_image(image: Vec<u8>, entries: usize, buckets: usize) -> Result<Self, IndexError> {
        let mut index = Self {
            image,
            buckets,
            used: 0,
            removed: 0,
        };
        for bucket in 0..buckets {
            match index.word(bucket) {
                EMPTY => {}
                REMOVED => index.removed += 1,
                _ => index.used += 1,
            }
        }
        if index.used != entries {
            return Err(IndexError::Malformed(
                "the number of entries is another one",
            ));
        }
        // Searches stop at empty buckets only. Fewer than one in fourteen make them slow.
        if (buckets - index.used - index.removed) * 14 <= buckets {
            index.rebuild(index.used);
        }
        Ok(index)
    }

    /// Moves all entries into a new table with room for `count`, without removed ones.
    fn rebuild(&mut self, count: usize) {
        let mut buckets = self.buckets;
        while count * 4 > buckets * 3 {
            buckets = next_prime(match buckets {
                0..0x4_0000 => buckets * 2,
                0x4_0000..0x100_0000 => buckets / 2 * 3,
                _ => buckets / 4 * 5,
            });
        }
        if count * 4 < buckets {
            buckets = next_prime(BUCKETS_MIN.max(count * 2));
        }
        let mut table = Self::with_buckets(buckets);
        for (id, value) in self.iter() {
            if let Found::Free(bucket) = table.find(&id) {
                let start = Self::start(bucket);
                table.image[start..start + KEY_SIZE].copy_from_slice(&id.0);
                table.set_value(bucket, value);
                table.used += 1;
            }
        }
        *self = table;
    }

    /// The bucket where the search for `id` begins.
    fn home(&self, id: &Id) -> usize {
        let [a, b, c, d, ..] = id.0;
        u32::from_le_bytes([a, b, c, d]) as usize % self.buckets
    }

    /// Where `id` stands, or where it would be put.
    fn find(&self, id: &Id) -> Found {
        let start = self.home(id);
        let mut bucket = start;
        let mut free = None;
        loop {
            let entry = self.bucket(bucket);
            let word = word_at(entry, KEY_SIZE / WORD_SIZE);
            if word == EMPTY {
                return Found::Free(free.unwrap_or(bucket));
            }
            if word == REMOVED {
                free.get_or_insert(bucket);
            } else if entry[..KEY_SIZE] == id.0 {
                return Found::At(bucket);
            }
            bucket = self.after(bucket);
            if bucket == start {
                // Not reached: a table keeps empty buckets.
                return Found::Free(free.unwrap_or(start));
            }
        }
    }

    fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets {
            0
        } else {
            bucket + 1
        }
    }

    fn start(bucket: usize) -> usize {
        HEADER_SIZE + bucket * Self::BUCKET_SIZE
    }

    fn bucket(&self, bucket: usize) -> &[u8] {
        let start = Self::start(bucket);
        &self.image[start..start + Self::BUCKET_SIZE]
    }

    fn word(&self, bucket: usize) -> u32 {
        word_at(self.bucket(bucket), KEY_SIZE / WORD_SIZE)
    }

    fn set_word(&mut self, bucket: usize, word: u32) {
        let start = Self::start(bucket) + KEY_SIZE;
        self.image[start..start + WORD_SIZE].copy_from_slice(&word.to_le_bytes());
    }

    fn value(&self, bucket: usize) -> [u32; WORDS] {
        words(&self.bucket(bucket)[KEY_SIZE..])
    }

    fn set_value(&mut self, bucket: usize, value: [u32; WORDS]) {
        let start = Self::start(bucket) + KEY_SIZE;
        let place = &mut self.image[start..start + Self::VALUE_SIZE];
        for (bytes, word) in place.chunks_exact_mut(WORD_SIZE).zip(value) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
}

impl<const WORDS: usize> std::fmt::Debug for HashIndex<WORDS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "HashIndex({} entries, {} buckets)",
            self.used, self.buckets
        )
    }
}

enum Found {
    /// The entry stands in this bucket.
    At(usize),
    /// There is none; this bucket would take it.
    Free(usize),
}

/// The `index`th word of `bytes`.
fn word_at(bytes: &[u8], index: usize) -> u32 {
    let start = index * WORD_SIZE;
    bytes
        .get(start..)
        .and_then(|rest| rest.first_chunk())
        .map_or(EMPTY, |word| u32::from_le_bytes(*word))
}

fn words<const WORDS: usize>(bytes: &[u8]) -> [u32; WORDS] {
    std::array::from_fn(|index| word_at(bytes, index))
}

/// The smallest prime that is not below `number`: where keys begin alike, steps of a prime
/// spread them best.
fn next_prime(number: usize) -> usize {
    let is_prime = |&candidate: &usize| {
        (3..)
            .step_by(2)
            .take_while(|divisor| divisor * divisor <= candidate)
            .all(|divisor| !candidate.is_multiple_of(divisor))
    };
    (number.max(3) | 1..)
        .step_by(2)
        .find(is_prime)
        .unwrap_or(number)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> Id {
        let mut id = [0; 32];
        // Few start buckets, so that entries meet.
        id[0] = u8::try_from(number % 7).unwrap();
        id[8..12].copy_from_slice(&number.to_be_bytes());
        Id(id)
    }

    fn saved(index: &mut HashIndex<2>) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        index.save(file.as_file_mut(), "index.1").unwrap();
        file
    }

    #[test]
    fn primes_are_found() {
        assert_eq!(next_prime(1000), 1009);
        assert_eq!(next_prime(1031), 1031);
        assert_eq!(next_prime(1 << 20), 1_048_583);
    }

    #[test]
    fn a_damaged_file_is_noticed_by_its_digest() {
        let mut index = HashIndex::<2>::new();
        index.insert(&id(1), [1, 2]);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let digests = index.save(file.as_file_mut(), "index.1").unwrap();
        let expected = Expected::Digests(digests);
        let load = |name| HashIndex::<2>::load(file.path(), name, Some(&expected));
        assert_eq!(load("index.1").unwrap().get(&id(1)), Some([1, 2]));
        assert!(matches!(load("index.2"), Err(IndexError::Integrity)));
    }

    #[test]
    fn an_announced_size_is_not_believed() {
        let mut index = HashIndex::<2>::new();
        let file = saved(&mut index);
        let good = std::fs::read(file.path()).unwrap();
        for (at, byte) in [
            (0, 0),
            (8, 1),
            (12, 0),
            (14, 0x7f),
            (15, 0xff),
            (16, 33),
            (17, 12),
        ] {
            let mut bad = good.clone();
            bad[at] = byte;
            std::fs::write(file.path(), &bad).unwrap();
            let result = HashIndex::<2>::load(file.path(), "index.1", None);
            assert!(matches!(result, Err(IndexError::Malformed(_))), "{at}");
        }
        std::fs::write(file.path(), &good[..good.len() - 1]).unwrap();
        assert!(HashIndex::<2>::load(file.path(), "index.1", None).is_err());
        std::fs::write(file.path(), &good[..7]).unwrap();
        assert!(HashIndex::<2>::load(file.path(), "index.1", None).is_err());
    }

    #[test]
    fn a_table_without_an_empty_bucket_is_searched_to_an_end() {
        let mut index = HashIndex::<2>::new();
        for bucket in 0..index.buckets {
            index.set_word(bucket, REMOVED);
        }
        let file = saved(&mut index);
        let index = HashIndex::<2>::load(file.path(), "index.1", None).unwrap();
        assert_eq!(index.get(&id(1)), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_is_a_map(
            operations in prop::collection::vec((0..4000u32, any::<bool>(), 0..9u32), 0..6000),
        ) {
            let mut index = HashIndex::<2>::new();
            let mut model = HashMap::new();
            for (number, insert, value) in operations {
                if insert {
                    prop_assert_eq!(
                        index.insert(&id(number), [value, number]),
                        model.insert(id(number), [value, number])
                    );
                } else {
                    prop_assert_eq!(index.remove(&id(number)), model.remove(&id(number)));
                }
            }
            let file = saved(&mut index);
            let loaded = HashIndex::<2>::load(file.path(), "index.1", None).unwrap();
            for index in [index, loaded] {
                prop_assert_eq!(index.len(), model.len());
                prop_assert_eq!(&index.iter().collect::<HashMap<_, _>>(), &model);
                for (id, value) in &model {
                    prop_assert_eq!(index.get(id), Some(*value));
                }
            }
        }
    }
}
