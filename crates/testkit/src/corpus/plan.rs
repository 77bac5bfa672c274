//! Which files a data set has.

use std::collections::BTreeSet;

use super::content::Content;
use super::{SEED, Set};
use crate::Random;

/// 2024-01-01 00:00 UTC: no file is older.
pub(super) const FIRST_DAY: (i64, i64) = (1_704_067_200, 0);

/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;

/// `u::rw-,u:12345:r--,g::r--,m::r--,o::r--` as the kernel keeps it: a version, then tag,
/// permissions and number of each entry.
#[rustfmt::skip]
pub(super) const ACL: [u8; 44] = [
    2, 0, 0, 0,
    1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff,
    2, 0, 4, 0, 0x39, 0x30, 0, 0,
    4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
    16, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
    32, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
];

const MB: u64 = 1_000_000;

/// One file to be made.
pub(super) struct PlannedFile {
    /// Relative to the set's directory.
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) content: Content,
    /// Seconds and nanoseconds since 1970.
    pub(super) mtime: (i64, i64),
    pub(super) has_xattrs: bool,
    pub(super) has_acl: bool,
}

/// All of a data set.
pub(super) struct Plan {
    pub(super) files: Vec<PlannedFile>,
    /// Further name, first name.
    pub(super) hard_links: Vec<(String, String)>,
    /// Name, target.
    pub(super) symlinks: Vec<(String, String)>,
    random: Random,
}

impl Plan {
    pub(super) fn new(set: Set, scale: f64) -> Self {
        let mut plan = Self {
            files: Vec::new(),
            hard_links: Vec::new(),
            symlinks: Vec::new(),
            random: Random::named(SEED, set.name().as_bytes()),
        };
        match set {
            Set::Mixed => {
                plan.source_code("src", scaled(49_500, scale), true);
                plan.large_files("media", 37, "jpg", Content::Noise, scaled(14 * MB, scale));
                plan.large_files("data", 12, "db", Content::Records, scaled(30 * MB, scale));
                plan.large_files("logs", 20, "log", Content::Text, scaled(15 * MB, scale));
                plan.add(
                    "vm/disk.img".into(),
                    scaled(178 * MB, scale),
                    Content::Image,
                );
            }
            Set::Small => plan.source_code("src", scaled(100_000, scale), false),
            Set::Big => {
                for (name, size) in [("one", 700), ("two", 500), ("three", 350), ("four", 250)] {
                    plan.add(
                        format!("{name}.bin"),
                        scaled(size * MB, scale),
                        Content::Noise,
                    );
                }
            }
        }
        plan
    }

    /// All directories, a parent before what is in it.
    pub(super) fn directories(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        for file in &self.files {
            let mut path = file.path.as_str();
            while let Some((parent, _)) = path.rsplit_once('/') {
                if !found.insert(parent) {
                    break;
                }
                path = parent;
            }
        }
        found
    }

    /// Projects of some five hundred files in folders of some ten.
    fn source_code(&mut self, top: &str, count: u64, with_attributes: bool) {
        for number in 0..count {
            let (project, folder) = (number / 500, number / 10);
            let below = if folder % 3 == 0 { "core" } else { "lib/util" };
            let kind = self
                .random
                .choose(&["rs", "py", "c", "h", "md", "json", "txt"]);
            let path =
                format!("{top}/project-{project:03}/{below}/{folder:05}/file-{number}.{kind}");
            let size = self.small_size();
            if with_attributes && number % 120 == 60 {
                let target = path.rsplit('/').next().unwrap_or_default().to_owned();
                self.symlinks.push((format!("{path}.link"), target));
                self.hard_links.push((format!("{path}.same"), path.clone()));
            }
            self.add(path, size, Content::Text);
            if let Some(file) = self.files.last_mut().filter(|_| with_attributes) {
                file.has_xattrs = number % 50 == 25;
                file.has_acl = number % 100 == 75;
            }
        }
    }

    /// Files of half to one and a half times a size.
    fn large_files(&mut self, top: &str, count: u64, kind: &str, content: Content, mean: u64) {
        for number in 0..count {
            let size = mean / 2 + self.random.below(mean.max(1));
            self.add(format!("{top}/{number:03}.{kind}"), size, content);
        }
    }

    /// Most files are small and a few are not: every size class from 256 bytes to 64 KiB is as
    /// frequent as the others, one file in four hundred has up to 1 MiB, one in a hundred nothing.
    fn small_size(&mut self) -> u64 {
        if self.random.once_in(400) {
            return self.random.below(1 << 20);
        }
        if self.random.once_in(100) {
            return 0;
        }
        let class = 8 + self.random.below(9);
        1 + self.random.below(1 << class)
    }

    fn add(&mut self, path: String, size: u64, content: Content) {
        let mtime = self.moment_on(0, 365);
        self.files.push(PlannedFile {
            path,
            size,
            content,
            mtime,
            has_xattrs: false,
            has_acl: false,
        });
    }

    fn moment_on(&mut self, first_day: u64, days: u64) -> (i64, i64) {
        moment(&mut self.random, first_day, days)
    }
}

/// A moment in the days that begin with a day of the data set.
pub(super) fn moment(random: &mut Random, first_day: u64, days: u64) -> (i64, i64) {
    let seconds = first_day * DAY + random.below(days * DAY);
    let nanoseconds = random.below(1_000_000_000);
    (
        FIRST_DAY.0 + i64::try_from(seconds).unwrap_or(0),
        i64::try_from(nanoseconds).unwrap_or(0),
    )
}

/// At least one, whatever the scale.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes and scales of data sets are small and positive"
)]
fn scaled(number: u64, scale: f64) -> u64 {
    ((number as f64 * scale) as u64).max(1)
}
