//! What all actions work with: options, log, time, the archive and how it is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use duplicity::{Archive, BackupSet, Collection, Gpg, Protection, SetTime, Settings};
use engine::Machine;
use jiff::Timestamp;
use store::{Folder, Store};

use super::failure::{Failure, code};
use super::log::{Level, Log, info, warning};
use super::options::Options;
use super::passphrase::{self, Asked, Passphrases};
use super::target;
use super::times::Clock;

pub(crate) struct Session<'a> {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) machine: &'a Machine,
    pub(crate) log: &'a Log,
    pub(crate) archive_dir: PathBuf,
    store: Arc<dyn Store>,
    /// What the store is, in a word.
    pub(crate) store_kind: &'static str,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        options: Options,
        url: &str,
        clock: Clock,
        machine: &'a Machine,
        log: &'a Log,
    ) -> Result<Self, Failure> {
        if options.use_gpgsm {
            return Err(Failure::new(
                code::NOT_IMPLEMENTED,
                "Archives encrypted with S/MIME (--use-gpgsm) are not supported by this program.",
            ));
        }
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .unwrap_or_else(|| machine.places.home.join(".cache"));
        let root = options
            .archive_dir
            .clone()
            .unwrap_or_else(|| cache.join("duplicity"));
        let name = options
            .name
            .clone()
            .unwrap_or_else(|| duplicity::default_name(url));
        let archive_dir = root.join(name);
        log.info(&format!("Using archive dir: {}", archive_dir.display()));
        let (store, store_kind) = target::open(url, &options, machine)?;
        Ok(Self {
            options,
            clock,
            machine,
            log,
            archive_dir,
            store,
            store_kind,
        })
    }

    /// The moment of the command.
    pub(crate) fn now(&self) -> SetTime {
        SetTime::from_seconds(self.clock.now)
    }

    /// The archive, for what needs no key.
    pub(crate) fn closed_archive(&self) -> Archive {
        self.archive_with(Protection::None, &[])
    }

    /// The archive, with what opens and protects its files. `asked` says what for: the person is
    /// asked for a passphrase where none is in the environment and one is needed.
    pub(crate) fn archive(&self, asked: Asked, local_dir: &[u8]) -> Result<Archive, Failure> {
        let protection = self.protection(asked)?;
        Ok(self.archive_with(protection, local_dir))
    }

    fn archive_with(&self, protection: Protection, local_dir: &[u8]) -> Archive {
        let scratch = self
            .options
            .tempdir
            .clone()
            .unwrap_or_else(std::env::temp_dir);
        let random = self.machine.store_environment().random;
        let mut settings = Settings::new(scratch, random);
        settings.prefixes = self.options.prefixes.clone();
        settings.protection = protection;
        settings.archive_dir = Some(self.archive_dir.clone());
        settings.volume_size = self.options.volume_size;
        settings.compress = self.options.compress;
        settings.list_changes = self.options.list_changes;
        settings.allow_other_source = self.options.allow_source_mismatch;
        settings.resume = true;
        // Unless asked for, one at a time: what a backup that was cut off leaves is its beginning, without
        // volumes behind one that is missing. The stock program does so, too.
        let uploads = self.options.concurrency.filter(|count| *count > 0);
        settings.uploads = uploads.unwrap_or(1);
        settings.host = rustix::system::uname().nodename().to_bytes().to_vec();
        settings.local_dir = local_dir.to_vec();
        Archive::new(Arc::clone(&self.store), Folder::root(), settings)
    }

    fn protection(&self, asked: Asked) -> Result<Protection, Failure> {
        let options = &self.options;
        if !options.encrypt {
            // It says how new files are made. What is there may be encrypted all the same.
            let known = passphrase::from_environment().filter(|_| asked != Asked::Write);
            return Ok(known.map_or(Protection::None, Protection::Passphrase));
        }
        let passphrases = Passphrases::new(options, self.log);
        let by_program = !options.encrypt_keys.is_empty()
            || !options.hidden_encrypt_keys.is_empty()
            || options.sign_key.is_some()
            || options.use_agent
            || options.gpg_binary.is_some()
            || !options.gpg_options.is_empty();
        let passphrase = passphrases.to_open(asked)?;
        if !by_program {
            return Ok(match passphrase {
                Some(passphrase) => Protection::Passphrase(passphrase),
                None => Protection::None,
            });
        }
        let sign_passphrase = if asked == Asked::Write && options.sign_key.is_some() {
            passphrases.to_sign()?
        } else {
            None
        };
        let has_keys = !options.encrypt_keys.is_empty() || !options.hidden_encrypt_keys.is_empty();
        if let (false, Some(sign), Some(open)) = (has_keys, &sign_passphrase, &passphrase)
            && sign.expose() != open.expose()
        {
            return Err(Failure::new(
                code::USER,
                "With a signature and no key to encrypt to, gpg takes one passphrase for both: \
                 that of the signing key has to be that of the archive.",
            ));
        }
        let mut gpg_options = options.gpg_options.clone();
        if let Some(ring) = &options.secret_keyring {
            gpg_options.push("--secret-keyring".into());
            gpg_options.push(ring.clone().into());
        }
        Ok(Protection::Gpg(Box::new(Gpg {
            program: options.gpg_binary.clone(),
            recipients: options.encrypt_keys.clone(),
            hidden_recipients: options.hidden_encrypt_keys.clone(),
            sign_key: options.sign_key.clone(),
            passphrase: passphrase.filter(|_| !options.use_agent),
            sign_passphrase: sign_passphrase.filter(|_| !options.use_agent),
            options: gpg_options,
            ..Gpg::default()
        })))
    }

    /// What the store holds, with a warning for all that fits nowhere.
    pub(crate) fn collection(&self, archive: &Archive) -> Result<Collection, Failure> {
        let collection = match archive.collection(self.now()) {
            Err(duplicity::Error::Store(error)) if error.kind == store::ErrorKind::NotFound => {
                // A folder that is not there holds nothing.
                Collection::default()
            }
            collection => collection?,
        };
        let last = collection.times().last().map(|time| time.seconds());
        self.log.notice(&match self.last_full(&collection) {
            Some(time) => format!(
                "Last full backup date: {}",
                self.clock.pretty(time.seconds())
            ),
            None => "Last full backup date: none".to_owned(),
        });
        let names = |sets: &[BackupSet]| {
            let files = sets.iter().flat_map(BackupSet::files);
            let names: Vec<&str> = files.map(|file| file.object.as_str()).collect();
            names.join(", ")
        };
        for (sets, number, what) in [
            (
                &collection.orphan_signatures,
                warning::ORPHANED_SIGNATURE,
                "signatures without a backup set",
            ),
            (
                &collection.orphans,
                warning::ORPHANED,
                "backup sets whose earlier sets are missing",
            ),
            (
                &collection.incomplete,
                warning::INCOMPLETE,
                "backup sets that were never finished",
            ),
        ] {
            if !sets.is_empty() {
                self.log
                    .warn(number, "", &format!("There are {what}: {}", names(sets)));
            }
        }
        self.log.say(
            Level::Debug,
            info::GENERIC,
            "",
            &format!("The newest set is from {last:?}."),
        );
        Ok(collection)
    }

    /// When the newest full set was made.
    pub(crate) fn last_full(&self, collection: &Collection) -> Option<SetTime> {
        collection.chains.iter().map(duplicity::Chain::start).max()
    }

    /// The sets that restore what is asked for.
    pub(crate) fn wanted_sets<'c>(
        &self,
        collection: &'c Collection,
    ) -> Result<&'c [BackupSet], Failure> {
        let time = self.options.restore_time.unwrap_or(self.clock.now);
        // A set that was made by a clock ahead of ours still is the newest.
        collection
            .nearest(SetTime::from_seconds(time))
            .ok_or_else(|| Failure::exception("CollectionsError", "No backup chains found"))
    }

    /// Fails when somebody pressed Ctrl-C.
    pub(crate) fn check_stop(&self) -> Result<(), Failure> {
        if self.machine.stop.is_requested() {
            return Err(Failure::new(code::INTERRUPTED, "Interrupted."));
        }
        Ok(())
    }

    /// A time of a set as people read it.
    pub(crate) fn pretty(&self, time: SetTime) -> String {
        self.clock.pretty(time.seconds())
    }
}

/// How long passing faults of a store are put up with, for a number of tries.
pub(crate) fn patience(options: &Options) -> store::Patience {
    let mut patience = store::Patience::default();
    if let Some(retries) = options.retries {
        // Waits double: so many of them take so long.
        let seconds = (1_u64 << retries.min(10)).min(30 * 60);
        patience.total = Duration::from_secs(seconds);
    }
    if let Some(seconds) = options.timeout_seconds.filter(|seconds| *seconds > 0) {
        patience.stall = Duration::from_secs(seconds);
    }
    patience
}

/// A moment to the hundredth of a second, as figures have it.
pub(crate) fn hundredths(moment: Timestamp) -> f64 {
    moment.as_second() as f64 + f64::from(moment.subsec_millisecond()) / 1000.0
}
