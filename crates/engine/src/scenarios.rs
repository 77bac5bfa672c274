//! What the layers are good for: one disaster after another, which layers survive it, how much would
//! be lost, how long it takes to get the files back, and what would help most.
//!
//! Judged from the configuration, the history and what the system says of its disks; no layer is
//! opened. Where it cannot be known, the worse is taken, and said so. Speeds are those of the drills.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use store::Location;

use crate::config::{self, ArchiveEncryption, Kind};
use crate::explain::Next;
use crate::machine::Context;
use crate::status::{LayerStatus, State, Status};

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disaster {
    /// A file was deleted or spoilt by accident.
    DeletedFile,
    /// The disk with the files dies.
    DeadDisk,
    /// The machine is stolen, with what is plugged into it.
    StolenMachine,
    /// The house burns down.
    Fire,
    /// Somebody has this machine's credentials, and encrypts or deletes what they reach.
    Ransomware,
    /// The passphrase of a layer is lost.
    LostPassphrase,
    /// A cloud account is closed.
    LostAccount,
    /// A program of one format writes something that cannot be read again.
    FormatBug,
}

impl Disaster {
    /// All, as they are shown.
    pub const ALL: [Self; 8] = [
        Self::DeletedFile,
        Self::DeadDisk,
        Self::StolenMachine,
        Self::Fire,
        Self::Ransomware,
        Self::LostPassphrase,
        Self::LostAccount,
        Self::FormatBug,
    ];

    /// In which order they are mended: what is likely and costs everything comes first.
    const WORST_FIRST: [Self; 8] = [
        Self::DeletedFile,
        Self::DeadDisk,
        Self::StolenMachine,
        Self::Ransomware,
        Self::Fire,
        Self::LostPassphrase,
        Self::LostAccount,
        Self::FormatBug,
    ];

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DeletedFile => "deleted file",
            Self::DeadDisk => "dead disk",
            Self::StolenMachine => "stolen machine",
            Self::Fire => "fire",
            Self::Ransomware => "ransomware",
            Self::LostPassphrase => "lost passphrase",
            Self::LostAccount => "lost cloud account",
            Self::FormatBug => "bug in one format",
        }
    }
}

/// How well a disaster is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The files come back.
    Covered,
    /// They do if something holds that this program cannot see.
    Perhaps,
    /// They do not.
    NotCovered,
}

/// One disaster, and what is left after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// What happens.
    pub disaster: Disaster,
    /// Whether the files come back.
    pub verdict: Verdict,
    /// The layers from which they do, the freshest first.
    pub layers: Vec<String>,
    /// What was written after this time is lost.
    pub good_until: Option<Timestamp>,
    /// How long it takes to get back what is lost, by the speed of the last drill of the fastest of
    /// those layers: one file, or everything. Unknown where none was drilled.
    pub takes_s: Option<u64>,
    /// What has to hold, or why nothing is left, as a clause.
    pub because: String,
}

/// All disasters, and what would help most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenarios {
    /// One for each disaster.
    pub scenarios: Vec<Scenario>,
    /// The worst that is not covered; `None` when all are.
    pub weakest: Option<Disaster>,
    /// What mends it.
    pub next: Option<Next>,
}

/// Judges all disasters.
#[must_use]
pub fn scenarios(status: &Status, context: Context<'_>) -> Scenarios {
    let machine = Surveyed::of(status, context);
    let scenarios: Vec<Scenario> = Disaster::ALL
        .into_iter()
        .map(|disaster| machine.judge(disaster))
        .collect();
    let of = |disaster: Disaster| {
        let mut all = scenarios.iter();
        all.find(|scenario| scenario.disaster == disaster)
    };
    // What is surely lost is worse than what may be.
    let first_with = |verdict: Verdict| {
        let mut worst = Disaster::WORST_FIRST.into_iter();
        worst.find(|&disaster| of(disaster).is_some_and(|found| found.verdict == verdict))
    };
    let weakest = first_with(Verdict::NotCovered).or_else(|| first_with(Verdict::Perhaps));
    Scenarios {
        next: weakest.map(|disaster| machine.advice(disaster)),
        weakest,
        scenarios,
    }
}

/// Where a store is, seen from the files.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Where {
    /// On a disk that holds files of the sources, or may.
    SameDisk,
    /// On another disk of this machine.
    OtherDisk,
    /// It is not there now: on a drive that is elsewhere, it is to be hoped.
    Away,
    /// On another machine of this network.
    Near,
    /// Elsewhere, on a machine or with a service that is called so.
    Far {
        /// Who can close it, where that is not its owner.
        account: Option<String>,
    },
}

/// A layer that has something to give.
struct Usable<'a> {
    config: &'a config::Layer,
    status: &'a LayerStatus,
    place: Where,
}

struct Surveyed<'a> {
    /// In the order of the configuration.
    usable: Vec<Usable<'a>>,
    all: Vec<&'a config::Layer>,
}

impl<'a> Surveyed<'a> {
    fn of(status: &'a Status, context: Context<'a>) -> Self {
        let sources = context.config.sources.iter();
        let mut held: BTreeSet<String> = BTreeSet::new();
        for path in sources.flat_map(|source| &source.paths) {
            held.extend(disks_of(path));
        }
        let usable = context.config.layers.iter().filter_map(|layer| {
            let mut all = status.layers.iter();
            let status = all.find(|status| status.layer == layer.name)?;
            let is_usable = status.last.is_some() && status.state != State::Damaged;
            is_usable.then(|| Usable {
                config: layer,
                status,
                place: place(layer, &held),
            })
        });
        Self {
            usable: usable.collect(),
            all: context.config.layers.iter().collect(),
        }
    }

    fn judge(&self, disaster: Disaster) -> Scenario {
        let (sure, perhaps) = self.survivors(disaster);
        let (verdict, mut layers) = match (sure.is_empty(), perhaps.is_empty()) {
            (false, _) => (Verdict::Covered, sure),
            (true, false) => (Verdict::Perhaps, perhaps),
            (true, true) => (Verdict::NotCovered, Vec::new()),
        };
        let because = match verdict {
            Verdict::Covered => "",
            Verdict::Perhaps => if_perhaps(disaster),
            Verdict::NotCovered if self.usable.is_empty() => "no layer holds a good snapshot",
            Verdict::NotCovered => why_not(disaster),
        };
        let because = because.to_owned();
        layers.sort_by_key(|layer| std::cmp::Reverse(layer.last_at()));
        let takes = layers.iter().filter_map(|layer| match disaster {
            Disaster::DeletedFile => layer.time_of_one(),
            _ => layer.time_of_all(),
        });
        Scenario {
            disaster,
            verdict,
            good_until: layers.first().and_then(|layer| layer.last_at()),
            takes_s: takes.min(),
            layers: layers
                .iter()
                .map(|layer| layer.config.name.clone())
                .collect(),
            because,
        }
    }

    /// The layers that surely survive, and those that may.
    fn survivors(&self, disaster: Disaster) -> (Vec<&Usable<'a>>, Vec<&Usable<'a>>) {
        let pick = |wanted: &dyn Fn(&Usable<'a>) -> bool| -> Vec<&Usable<'a>> {
            self.usable.iter().filter(|layer| wanted(layer)).collect()
        };
        let is_far = |layer: &Usable<'a>| matches!(layer.place, Where::Far { .. });
        let is_elsewhere = |layer: &Usable<'a>| is_far(layer) || layer.place == Where::Near;
        match disaster {
            Disaster::DeletedFile => (pick(&|_| true), Vec::new()),
            Disaster::DeadDisk => (pick(&|layer| layer.place != Where::SameDisk), Vec::new()),
            Disaster::StolenMachine => (
                pick(&is_elsewhere),
                pick(&|layer| matches!(layer.place, Where::OtherDisk | Where::Away)),
            ),
            Disaster::Fire => (
                pick(&is_far),
                pick(&|layer| matches!(layer.place, Where::Near | Where::Away)),
            ),
            Disaster::Ransomware => (
                pick(&|layer| layer.place == Where::Away),
                pick(&is_elsewhere),
            ),
            Disaster::LostPassphrase => (
                pick(&|layer| !needs_secret(layer.config)),
                self.second_opener(),
            ),
            Disaster::LostAccount => (self.after_account(), Vec::new()),
            Disaster::FormatBug if self.kinds().len() > 1 => (pick(&|_| true), Vec::new()),
            Disaster::FormatBug => (Vec::new(), Vec::new()),
        }
    }

    fn kinds(&self) -> BTreeSet<&'static str> {
        let layers = self.usable.iter();
        layers.map(|layer| layer.config.kind.name()).collect()
    }

    /// The layers that are left whichever one passphrase is lost.
    fn second_opener(&self) -> Vec<&Usable<'a>> {
        let secrets: BTreeSet<String> = self
            .usable
            .iter()
            .filter_map(|layer| layer.config.passphrase.as_ref())
            .map(ToString::to_string)
            .collect();
        match secrets.len() {
            0 | 1 => Vec::new(),
            _ => self.usable.iter().collect(),
        }
    }

    /// The layers that are left whichever one account is closed.
    fn after_account(&self) -> Vec<&Usable<'a>> {
        let account = |layer: &Usable<'a>| match &layer.place {
            Where::Far { account } => account.clone(),
            _ => None,
        };
        let accounts: BTreeSet<Option<String>> = self.usable.iter().map(account).collect();
        let all_with_one = accounts.len() == 1 && !accounts.contains(&None);
        let own = |layer: &&Usable<'a>| account(layer).is_none() || !accounts.contains(&None);
        let all = self.usable.iter();
        all.filter(|layer| !all_with_one && own(layer)).collect()
    }

    /// What would help most.
    fn advice(&self, disaster: Disaster) -> Next {
        let run = |command: &str| Next::Run {
            command: command.to_owned(),
        };
        let advice = |text: String| Next::Advice { text };
        if self.usable.is_empty() {
            return match self.all.first() {
                Some(_) => run("ravelin backup"),
                None => run("ravelin init"),
            };
        }
        let far = self.usable.iter().find(|layer| {
            let place = &layer.place;
            matches!(place, Where::Far { .. } | Where::Near)
        });
        match (disaster, far) {
            (Disaster::DeletedFile, _) => run("ravelin backup"),
            (Disaster::DeadDisk, _) => advice(
                "add a layer whose `store` is on another disk or machine, then `ravelin init`: \
                 docs/guide/layers.md"
                    .to_owned(),
            ),
            (Disaster::StolenMachine | Disaster::Fire, _) => advice(
                "add a layer whose `store` is in another house, then `ravelin init`: docs/guide/layers.md"
                    .to_owned(),
            ),
            (Disaster::Ransomware, Some(layer)) => Next::Run {
                command: format!("ravelin store test {}", shown(layer.config)),
            },
            (Disaster::Ransomware, None) => advice(
                "keep a copy where this machine cannot delete: docs/guide/ransomware.md".to_owned(),
            ),
            (Disaster::LostPassphrase, _) => advice(
                "write each passphrase on paper and file it with the page of `ravelin runbook`".to_owned(),
            ),
            (Disaster::LostAccount, _) => advice(
                "add a layer that is not with this account, then `ravelin init`: docs/guide/layers.md"
                    .to_owned(),
            ),
            (Disaster::FormatBug, _) => {
                let other = if self.kinds().contains("borg") {
                    "duplicity"
                } else {
                    "borg"
                };
                advice(format!(
                    "add a layer of kind `{other}`, then `ravelin init`: docs/guide/layers.md"
                ))
            }
        }
    }
}

impl Usable<'_> {
    fn last_at(&self) -> Option<Timestamp> {
        self.status.last.as_ref().map(|last| last.at)
    }

    /// A drill that came to something, as seconds, files and bytes.
    fn drilled(&self) -> Option<(f64, f64, f64)> {
        let drill = self.status.drill.as_ref()?;
        let is_measured = drill.files > 0 && drill.took_ms > 0;
        let files = u32::try_from(drill.files).unwrap_or(u32::MAX);
        let seconds = SignedDuration::from_millis(i64::try_from(drill.took_ms).ok()?).as_secs_f64();
        is_measured.then_some((seconds, f64::from(files), bytes(drill.bytes)))
    }

    /// As long as a whole drill: opening the layer costs more than a file.
    fn time_of_one(&self) -> Option<u64> {
        self.drilled().map(|(seconds, _, _)| whole(seconds))
    }

    /// By bytes, and not faster than the drill took.
    fn time_of_all(&self) -> Option<u64> {
        let (seconds, _, drilled) = self.drilled()?;
        let all = bytes(self.status.last.as_ref()?.statistics.bytes);
        Some(whole(seconds.max(seconds * all / drilled.max(1.0))))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate needs no more than 52 bits"
)]
fn bytes(number: u64) -> f64 {
    number as f64
}

/// Rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and clamped by the cast"
)]
fn whole(seconds: f64) -> u64 {
    seconds.ceil() as u64
}

/// What has to hold for the layers that may survive.
fn if_perhaps(disaster: Disaster) -> &'static str {
    match disaster {
        Disaster::StolenMachine => "only if the drive is not stolen with it",
        Disaster::Fire => "only if that copy is in another house",
        Disaster::Ransomware => "only if this machine can add to that store but not delete",
        Disaster::LostPassphrase => "only if they are not kept, and lost, together",
        _ => "",
    }
}

/// Why nothing is left.
fn why_not(disaster: Disaster) -> &'static str {
    match disaster {
        Disaster::DeletedFile => "",
        Disaster::DeadDisk => "every good copy is on the disk with the files",
        Disaster::StolenMachine => "every good copy is in this machine",
        Disaster::Fire => "every good copy is in this house, as far as can be seen",
        Disaster::Ransomware => "this machine can delete every good copy",
        Disaster::LostPassphrase => "one passphrase opens every good copy",
        Disaster::LostAccount => "every good copy is with one account",
        Disaster::FormatBug => "every good copy has the same format",
    }
}

/// Whether something that a person has to remember or keep opens the layer.
fn needs_secret(layer: &config::Layer) -> bool {
    match &layer.kind {
        Kind::Borg { encryption, .. } => encryption.encrypts() || layer.passphrase.is_some(),
        Kind::Duplicity(settings) => settings.encryption != ArchiveEncryption::None,
        Kind::Drop { .. } => false,
    }
}

/// The store without a password that it may hold.
fn shown(layer: &config::Layer) -> String {
    match layer.store.parse::<Location>() {
        Ok(location) if layer.store.contains(':') => location.to_string(),
        _ => layer.store.clone(),
    }
}

fn place(layer: &config::Layer, held: &BTreeSet<String>) -> Where {
    if let Some(folder) = layer.local_store() {
        if folder.symlink_metadata().is_err() {
            return Where::Away;
        }
        if is_network(&folder) {
            return Where::Near;
        }
        let disks = disks_of(&folder);
        // One that nothing is known of may be the same.
        let is_other = !disks.is_empty() && disks.is_disjoint(held);
        return if is_other {
            Where::OtherDisk
        } else {
            Where::SameDisk
        };
    }
    if let Some(borg::Location::Ssh(ssh)) = layer.borg_location()
        && matches!(layer.kind, Kind::Borg { .. })
    {
        return of_host(&ssh.host);
    }
    let account = |name: &str, account: Option<&str>| Where::Far {
        account: Some(format!("{name} {}", account.unwrap_or_default())),
    };
    match layer.store.parse::<Location>() {
        Ok(Location::Sftp { server, .. } | Location::WebDav { server, .. }) => {
            of_host(&server.host)
        }
        Ok(Location::S3(s3)) => match &s3.server {
            Some(server) if of_host(&server.host) == Where::Near => Where::Near,
            Some(server) => account(&server.host, server.user.as_deref()),
            None => account("s3", s3.key.as_ref().map(|(id, _)| id.as_str())),
        },
        Ok(Location::B2 { key, .. }) => account("b2", key.as_ref().map(|(id, _)| id.as_str())),
        Ok(Location::Drive { account: who, .. }) => account("drive", who.as_deref()),
        Ok(Location::Dropbox { account: who, .. }) => account("dropbox", who.as_deref()),
        Ok(Location::Rclone(remote)) => account("rclone", remote.split(':').next()),
        _ => Where::SameDisk,
    }
}

/// A host with an address or a name of a private network is taken for one in the same house.
fn of_host(host: &str) -> Where {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_private = match bare.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => {
            if address.is_loopback() {
                return Where::SameDisk;
            }
            address.is_private() || address.is_link_local()
        }
        Ok(std::net::IpAddr::V6(address)) => {
            if address.is_loopback() {
                return Where::SameDisk;
            }
            address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) if bare == "localhost" => return Where::SameDisk,
        Err(_) => {
            let ends = [".local", ".lan", ".home", ".internal", ".home.arpa", ".box"];
            !bare.contains('.') || ends.iter().any(|end| bare.ends_with(end))
        }
    };
    if is_private {
        Where::Near
    } else {
        Where::Far { account: None }
    }
}

/// The nearest folder above a path that is there.
fn standing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .find(|above| above.metadata().is_ok())
        .map(Path::to_owned)
}

/// Whether a folder is on a file system of another machine.
fn is_network(folder: &Path) -> bool {
    let Some(folder) = standing(folder).and_then(|folder| folder.canonicalize().ok()) else {
        return false;
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut deepest: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        if let (Some(point), Some(kind)) = (words.next(), words.next()) {
            let point = point.replace("\\040", " ");
            if folder.starts_with(&point) && deepest.is_none_or(|(length, _)| length <= point.len())
            {
                deepest = Some((point.len(), kind));
            }
        }
    }
    let networks = [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "fuse.sshfs",
        "fuse.rclone",
        "9p",
        "afs",
        "ceph",
    ];
    deepest.is_some_and(|(_, kind)| networks.contains(&kind))
}

/// The disks below a path, as the kernel calls them: partitions, encryption and volumes are looked
/// through. Where it knows of none, the file system stands for itself.
fn disks_of(path: &Path) -> BTreeSet<String> {
    let mut disks = BTreeSet::new();
    if let Some(metadata) = standing(path).and_then(|path| path.metadata().ok()) {
        let device = metadata.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let block = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        match block.canonicalize() {
            Ok(block) => below(&block, &mut disks, 0),
            Err(_) => {
                disks.insert(format!("{major}:{minor}"));
            }
        }
    }
    disks
}

fn below(block: &Path, disks: &mut BTreeSet<String>, depth: u32) {
    let slaves = fs::read_dir(block.join("slaves")).into_iter().flatten();
    let slaves: Vec<PathBuf> = slaves
        .filter_map(|slave| slave.ok()?.path().canonicalize().ok())
        .collect();
    if !slaves.is_empty() && depth < 16 {
        for slave in slaves {
            below(&slave, disks, depth + 1);
        }
        return;
    }
    let is_partition = block.join("partition").exists();
    let disk = if is_partition {
        block.parent()
    } else {
        Some(block)
    };
    let name = disk.and_then(Path::file_name);
    disks.extend(name.map(|name| name.to_string_lossy().into_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_a_private_network_is_in_the_same_house() {
        for near in [
            "nas",
            "nas.local",
            "192.168.1.4",
            "10.0.0.1",
            "fritz.box",
            "[fd00::1]",
        ] {
            assert_eq!(of_host(near), Where::Near, "{near}");
        }
        for far in ["backup.example.org", "203.0.113.7", "[2001:db8::1]"] {
            assert_eq!(of_host(far), Where::Far { account: None }, "{far}");
        }
        for here in ["localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(of_host(here), Where::SameDisk, "{here}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_on_the_disk_of_what_is_above() {
        let folder = tempfile::tempdir().unwrap();
        let disks = disks_of(folder.path());
        assert!(!disks.is_empty());
        assert_eq!(disks_of(&folder.path().join("not/there")), disks);
    }
}
