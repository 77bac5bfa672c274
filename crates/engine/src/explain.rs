//! Every error in words: a stable code, one sentence, its causes and a next step.
//!
//! The terminal, the page and the mail show the same. docs/errors.md is made from this file, and
//! a test holds them together.

use std::fmt;
use std::io;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::chain;
use crate::{Error, config, layer, secret};

/// What went wrong, by a name that does not change between versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    missing_docs,
    reason = "`Code::meaning` says what each means, for people and for this page"
)]
pub enum Code {
    ConfigMissing,
    ConfigUnreadable,
    ConfigOpen,
    ConfigMistakes,
    ConfigExists,
    NoSuchLayer,
    NoSuchSnapshot,
    SnapshotExists,
    SnapshotName,
    NoSuchPath,
    BadPath,
    NotAFile,
    FileUnusable,
    NothingToBackUp,
    KindNotRunnable,
    StoreNotRunnable,
    LayerNotCreated,
    SecretOpen,
    SecretMissing,
    SecretProgram,
    FleetKey,
    RepositoryLocked,
    WrongPassphrase,
    KeyUnusable,
    NotAllowed,
    RepositoryDamaged,
    RepositoryUnknown,
    NotARepository,
    Unreachable,
    ServerRefuses,
    OtherSource,
    NotEncrypted,
    SnapshotNeeded,
    RestoreTarget,
    RestoreBusy,
    DiskFull,
    NotProved,
    StateUnwritable,
    StoreLocation,
    StoreSignIn,
    StoreDenied,
    StoreUnreachable,
    StoreFull,
    StoreMissing,
    StoreChanged,
    StoreDamaged,
    StoreClock,
    StoreCannot,
    StoreRefused,
    AlreadyRunning,
    NoScheduler,
    HookRefused,
    /// A snapshot of a file system cannot be made or removed.
    FileSystemSnapshot,
    GuardAlarm,
    ConfigNotInLayer,
    Stopped,
    Io,
    Bug,
    Unexpected,
}

impl Code {
    /// All codes, in the order of docs/errors.md.
    pub const ALL: [Self; 59] = [
        Self::ConfigMissing,
        Self::ConfigUnreadable,
        Self::ConfigOpen,
        Self::ConfigMistakes,
        Self::ConfigExists,
        Self::NoSuchLayer,
        Self::NoSuchSnapshot,
        Self::SnapshotExists,
        Self::SnapshotName,
        Self::NoSuchPath,
        Self::BadPath,
        Self::NotAFile,
        Self::FileUnusable,
        Self::NothingToBackUp,
        Self::KindNotRunnable,
        Self::StoreNotRunnable,
        Self::LayerNotCreated,
        Self::SecretOpen,
        Self::SecretMissing,
        Self::SecretProgram,
        Self::FleetKey,
        Self::RepositoryLocked,
        Self::WrongPassphrase,
        Self::KeyUnusable,
        Self::NotAllowed,
        Self::RepositoryDamaged,
        Self::RepositoryUnknown,
        Self::NotARepository,
        Self::Unreachable,
        Self::ServerRefuses,
        Self::OtherSource,
        Self::NotEncrypted,
        Self::SnapshotNeeded,
        Self::RestoreTarget,
        Self::RestoreBusy,
        Self::DiskFull,
        Self::NotProved,
        Self::StateUnwritable,
        Self::StoreLocation,
        Self::StoreSignIn,
        Self::StoreDenied,
        Self::StoreUnreachable,
        Self::StoreFull,
        Self::StoreMissing,
        Self::StoreChanged,
        Self::StoreDamaged,
        Self::StoreClock,
        Self::StoreCannot,
        Self::StoreRefused,
        Self::AlreadyRunning,
        Self::NoScheduler,
        Self::HookRefused,
        Self::FileSystemSnapshot,
        Self::GuardAlarm,
        Self::ConfigNotInLayer,
        Self::Stopped,
        Self::Io,
        Self::Bug,
        Self::Unexpected,
    ];

    /// The name, as it is shown and searched for.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// What it means, in one or two sentences.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.entry().1
    }

    /// What can be done about it, in general. [`Explanation::next`] says it for the case at hand.
    #[must_use]
    pub fn advice(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::ConfigMissing => (
                "config-missing",
                "There is no configuration file yet.",
                "`ravelin quickstart PATH` writes a first one and makes a backup; `ravelin init` writes one without a backup.",
            ),
            Self::ConfigUnreadable => (
                "config-unreadable",
                "The configuration file cannot be read.",
                "Make it a file that the user who runs ravelin can read (`ls -l` shows whose it is), or name another with `--config`.",
            ),
            Self::ConfigOpen => (
                "config-open",
                "Other users may change the configuration file. It names programs that are run, so it is not trusted.",
                "Take the right to write from the group and from others: `chmod go-w FILE`.",
            ),
            Self::ConfigMistakes => (
                "config-mistakes",
                "The configuration holds mistakes. All of them are listed with their lines; nothing was done.",
                "Mend the lines; `ravelin config check` shows what is left. Every key is shown in docs/config.toml.",
            ),
            Self::ConfigExists => (
                "config-exists",
                "There is a configuration file already, and it is never replaced.",
                "Edit it, or name another file with `--config`.",
            ),
            Self::NoSuchLayer => (
                "no-such-layer",
                "No layer of the configuration has this name.",
                "`ravelin status` lists the layers.",
            ),
            Self::NoSuchSnapshot => (
                "no-such-snapshot",
                "The layer has no snapshot of this name.",
                "`ravelin snapshots` lists them; `latest`, `latest~1` and dates are understood.",
            ),
            Self::SnapshotName => (
                "snapshot-name",
                "A snapshot cannot be called so.",
                "Choose a name without `/` and `::`.",
            ),
            Self::SnapshotExists => (
                "snapshot-exists",
                "The layer has a snapshot of this name already.",
                "Choose another name; `ravelin snapshots` lists those that are taken. One that is made of the time is free a second later.",
            ),
            Self::NoSuchPath => (
                "no-such-path",
                "The snapshot does not hold this path.",
                "`ravelin find NAME` looks through all snapshots.",
            ),
            Self::BadPath => (
                "bad-path",
                "What was typed cannot be a path inside a snapshot.",
                "Leave out `..`; a leading `/` may stay.",
            ),
            Self::NotAFile => (
                "not-a-file",
                "What stands at this path of the snapshot is no regular file, so it has no content to be shown.",
                "`ravelin ls SNAPSHOT PATH` lists a folder, `ravelin restore` brings anything back.",
            ),
            Self::FileUnusable => (
                "file-unusable",
                "A file that was named on the command line cannot be read or written.",
                "Check its name, and who may read or write it: `ls -l`.",
            ),
            Self::NothingToBackUp => (
                "nothing-to-back-up",
                "None of the paths of the sources exists. A snapshot of nothing would look like a success, so none is made.",
                "Check how the paths are written, here and in the configuration, and whether a drive is missing.",
            ),
            Self::KindNotRunnable => (
                "kind-not-runnable",
                "This cannot be done with a layer of this kind, or it is a drop layer that names no folder of this machine and is worked by `ravelin drop` alone.",
                "For a drop layer that is to be kept in step by itself, set its `folder`. The other layers run without it.",
            ),
            Self::StoreNotRunnable => (
                "store-not-runnable",
                "The configuration is understood, but this version cannot reach this store yet. Folders of this machine work, and places behind SSH.",
                "Use a folder of this machine as the store.",
            ),
            Self::LayerNotCreated => (
                "layer-not-created",
                "Nothing stands at the store of the layer. It is not created on its own, because the store may be a drive that is not mounted.",
                "`ravelin init` creates the layers that are missing. If there should be one, check whether the drive is mounted.",
            ),
            Self::SecretOpen => (
                "secret-open",
                "Other users may read or change the file with the secret, so it is no secret.",
                "`chmod 600 FILE`, and think about changing the passphrase.",
            ),
            Self::SecretMissing => (
                "secret-missing",
                "The passphrase is not where the configuration says that it is kept.",
                "Put it there, or change the reference in the configuration.",
            ),
            Self::SecretProgram => (
                "secret-program",
                "The program that should print the passphrase did not.",
                "Run the program by hand and see what it says.",
            ),
            Self::FleetKey => (
                "fleet-key",
                "The key of `[fleet]` is so short that the store could find it by trying.",
                "Make a new one, such as with `openssl rand -hex 32`, and give it to all machines.",
            ),
            Self::RepositoryLocked => (
                "repository-locked",
                "Another program is using the repository.",
                "Wait until it is done. If that program is gone, run `ravelin unlock LAYER`; the lock of a program that died on this machine is taken away by itself.",
            ),
            Self::WrongPassphrase => (
                "wrong-passphrase",
                "The passphrase does not open the key of the repository.",
                "Check where the configuration says that the passphrase is kept. Without it nothing can be restored.",
            ),
            Self::KeyUnusable => (
                "key-unusable",
                "The key of the repository is missing or damaged.",
                "Put a copy back: `ravelin key import`.",
            ),
            Self::NotAllowed => (
                "not-allowed",
                "The repository only allows to add, or was opened for reading alone.",
                "An append-only repository is made smaller where it is kept: `borg config REPOSITORY append_only 0` there, or a key without `--append-only`. Look through its snapshots first: what was deleted meanwhile goes for good.",
            ),
            Self::RepositoryDamaged => (
                "repository-damaged",
                "Something that is stored in the repository is not what was written.",
                "`ravelin repair --dry-run` says which snapshots and files are affected and what could be mended; back up to another layer before anything is.",
            ),
            Self::RepositoryUnknown => (
                "repository-unknown",
                "The repository is not the one that this machine remembers: it was moved, replaced or rolled back.",
                "If you did that, say so with `ravelin repair --trust`; if you did not, somebody else has, and newer snapshots may be missing.",
            ),
            Self::NotARepository => (
                "not-a-repository",
                "Something stands at the store of the layer, but no repository that this version can use.",
                "Check the store in the configuration.",
            ),
            Self::Unreachable => (
                "unreachable",
                "The server with the repository cannot be reached, or the connection to it was lost. What was committed stays, the rest is undone there by itself.",
                "Try what `ssh` says on its own, then run the same command again: it goes on from the last checkpoint.",
            ),
            Self::ServerRefuses => (
                "server-refuses",
                "The server with the repository does not do what it was asked for.",
                "What a key may do stands in `authorized_keys` on the server: `--restrict-to-path`, `--append-only` and `--storage-quota` hold it to a folder, to adding, to a size.",
            ),
            Self::OtherSource => (
                "other-source",
                "The archive is of another machine or folder. Nothing is added to it: two sources in one archive would take each other's files for deleted.",
                "Give the layer a store of its own. If this machine was renamed, set `host` of the layer to its old name.",
            ),
            Self::NotEncrypted => (
                "not-encrypted",
                "The archive holds a file that is not encrypted, and all of this layer's have to be. Whoever can write to the store may have put it there, so nothing of it is used.",
                "If you made an archive without encryption there yourself, give this layer a store of its own. If not, look at who has access to the store.",
            ),
            Self::SnapshotNeeded => (
                "snapshot-needed",
                "The snapshot cannot be removed, as others stand on it or are going to.",
                "Name all snapshots of its chain, or leave it to `keep`: chains go when no rule needs any of them.",
            ),
            Self::RestoreTarget => (
                "restore-target",
                "The folder to restore into cannot be used as it is.",
                "Name another folder with `--to`.",
            ),
            Self::RestoreBusy => (
                "restore-busy",
                "Another restore is writing into the same folder.",
                "Wait until it is over, or restore into another folder.",
            ),
            Self::DiskFull => (
                "disk-full",
                "No space is left where something was to be written. What was finished stays.",
                "Make space and run the same command again; it does the rest.",
            ),
            Self::NotProved => (
                "not-proved",
                "The file that was to prove that a restore works did not come back, or not as it was.",
                "Run `ravelin verify --data`, and do not rely on this layer until it is clear why.",
            ),
            Self::StateUnwritable => (
                "state-unwritable",
                "The program's own files cannot be read or written.",
                "The folder must belong to the user who runs ravelin, and have space: `ls -ld` and `df` say so. After a run with `sudo`, `chown` gives it back.",
            ),
            Self::StoreLocation => (
                "store-location",
                "What was typed is not where a store can be.",
                "docs/stores.md shows how each kind is written, for example `sftp://nas/backup` or `b2://bucket/laptop`.",
            ),
            Self::StoreSignIn => (
                "store-sign-in",
                "The store does not know who is asking: the credentials are missing, wrong, expired or revoked.",
                "Sign in again, or mend the key; docs/stores.md says where each kind of store looks for its credentials.",
            ),
            Self::StoreDenied => (
                "store-denied",
                "The credentials are good, but do not allow this.",
                "Give the key the right that is missing, or use another one. A key that cannot delete is good protection: delete with another key, from another machine.",
            ),
            Self::StoreUnreachable => (
                "store-unreachable",
                "The store could not be reached, or kept saying that it is busy, for as long as it was tried. Nothing that was there is lost.",
                "Check the network and the service, then run the same command again.",
            ),
            Self::StoreFull => (
                "store-full",
                "The disk, the quota or the spending cap of the store is full. What was there is still there, and nothing was written in part.",
                "Make room, or raise the quota or the cap, then run the same command again.",
            ),
            Self::StoreMissing => (
                "store-missing",
                "What was asked for is not in the store.",
                "Check the place: its bucket, its folder, and whether a drive is mounted.",
            ),
            Self::StoreChanged => (
                "store-changed",
                "An object was replaced while it was read, so what was read is no whole.",
                "Somebody else writes to the same place. Wait until they are done, then run the same command again.",
            ),
            Self::StoreDamaged => (
                "store-damaged",
                "The bytes that arrived are not those that were sent, three times in a row.",
                "Check the memory and the network of this machine, and the disk of the store.",
            ),
            Self::StoreClock => (
                "store-clock",
                "The service refuses what this machine signs, because their clocks differ.",
                "Set the clock: `timedatectl set-ntp true`.",
            ),
            Self::StoreCannot => (
                "store-cannot",
                "This kind of store, or this server, cannot do what is needed.",
                "`ravelin store test LOCATION` shows what it can do.",
            ),
            Self::StoreRefused => (
                "store-refused",
                "The store does not understand what it was asked, or its answer makes no sense.",
                "Check the address: host, port, and whether it is `https` or not. `ravelin store test LOCATION` tries each thing on its own.",
            ),
            Self::AlreadyRunning => (
                "already-running",
                "Another ravelin of this user is backing up. Two at once would do the same work twice.",
                "Wait until it is done. One that was killed holds nothing: nothing has to be removed.",
            ),
            Self::NoScheduler => (
                "no-scheduler",
                "Neither systemd nor cron can run ravelin on a schedule here; each says why.",
                "Install cron, or let anything else call `ravelin run` every few minutes: it decides by itself what is due.",
            ),
            Self::HookRefused => (
                "hook-refused",
                "A program that the configuration names to be called before a backup did not allow it, so nothing was backed up.",
                "See what it said. Exit code 0 lets the backup go on, 75 puts it off without an alarm.",
            ),
            Self::FileSystemSnapshot => (
                "file-system-snapshot",
                "A source is to be read from a snapshot of its file system, and that cannot be made, or one that an earlier run left is in its place and cannot be removed; nothing was backed up.",
                "See the reason. `btrfs subvolume delete` removes what an earlier run has left; it is below `.ravelin-snapshot` in the subvolume. Without `file-system-snapshot` in the source its files are read as they are; docs/guide/snapshots.md says what else there is.",
            ),
            Self::GuardAlarm => (
                "guard-alarm",
                "In one run many files were gone, renamed or encrypted, which is what ransomware does, or a drive that is not mounted. Backups go on, but no old snapshot is removed from any layer, because those from before may be all that is left.",
                "`ravelin guard` says what was seen. If it was you, `ravelin guard --go-on`; if not, docs/guide/ransomware.md.",
            ),
            Self::ConfigNotInLayer => (
                "config-not-in-layer",
                "None of the newest snapshots of this layer holds a configuration of ravelin: they were made by another program, by an earlier version, or its file was left out because a password stood in it.",
                "Try another layer; `--path` names the file where it was not called `ravelin.toml`. Without one, `ravelin runbook` on paper or docs/guide/restore-a-machine.md has the commands.",
            ),
            Self::Stopped => (
                "stopped",
                "The operation was stopped before its end. What was committed stays.",
                "Run it again.",
            ),
            Self::Io => (
                "io",
                "The system refused something that was needed.",
                "The last line of the cause is what the system said. Mend that, then run the same command again.",
            ),
            Self::Bug => (
                "bug",
                "The program broke an assumption of its own. Other layers were not touched.",
                "Report it with the text above; earlier snapshots are not affected.",
            ),
            Self::Unexpected => (
                "unexpected",
                "Something went wrong for which there is no page yet.",
                "The cause is all that is known. If it does not say what to do, report it with the command that was run.",
            ),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A code of another version reads as [`Code::Unexpected`].
impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Self::ALL.into_iter().find(|code| code.name() == name);
        Ok(known.unwrap_or(Self::Unexpected))
    }
}

/// An error in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Which page of docs/errors.md.
    pub code: Code,
    /// What happened, as the errors say it: outermost first, at least one.
    pub because: Vec<String>,
    /// What to do now.
    pub next: Next,
}

/// What to do about an error. The terminal prints it, the page makes a button of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Next {
    /// Run a command.
    Run {
        /// The command line.
        command: String,
    },
    /// Edit a file.
    Edit {
        /// Which file.
        file: String,
        /// On which line, from 1.
        line: usize,
    },
    /// Do something that only a person can.
    Advice {
        /// What, in a sentence.
        text: String,
    },
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { command } => write!(f, "run `{command}`"),
            Self::Edit { file, line } => write!(f, "edit {file}, line {line}"),
            Self::Advice { text } => f.write_str(text),
        }
    }
}

impl Explanation {
    /// The general words of a code.
    #[must_use]
    pub fn of_code(code: Code) -> Self {
        Self {
            code,
            because: vec![code.meaning().to_owned()],
            next: Next::Advice {
                text: code.advice().to_owned(),
            },
        }
    }
}

/// Explains what kept an operation from being done.
#[must_use]
pub fn explain(error: &Error) -> Explanation {
    let (code, next) = match error {
        Error::Config(error) => of_config(error),
        Error::ConfigExists { path } => (
            Code::ConfigExists,
            Some(Next::Edit {
                file: path.display().to_string(),
                line: 1,
            }),
        ),
        Error::NoLayer { known, .. } => {
            let text = format!("the layers are: {}", known.join(", "));
            (Code::NoSuchLayer, Some(Next::Advice { text }))
        }
        Error::Layer { layer, source } => return of_named_layer(source, Some(layer)),
        Error::NoSource { .. } => (Code::NothingToBackUp, None),
        Error::BadPath { .. } => (Code::BadPath, None),
        Error::NoEntry { path, .. } => {
            let name = path.name().map(String::from_utf8_lossy);
            let command = name.map(|name| run(&["find", &name]));
            (Code::NoSuchPath, command)
        }
        Error::Restore { source } => (of_restore(source), None),
        Error::Proof { .. } => (Code::NotProved, None),
        Error::File { source, .. } => (Code::FileUnusable, of_file(source)),
        Error::NotAFile { path, snapshot, .. } => {
            let path = path.to_string();
            (Code::NotAFile, Some(run(&["ls", snapshot, &path])))
        }
        Error::State { .. } => (Code::StateUnwritable, None),
        Error::BadStore(_) => (Code::StoreLocation, None),
        Error::Store(error) => of_store(error),
        Error::FleetKey { .. } => (Code::FleetKey, None),
        Error::Hook { .. } => (Code::HookRefused, None),
        Error::FileSystemSnapshot { .. } => (Code::FileSystemSnapshot, None),
        Error::NotInLayer { .. } => (Code::ConfigNotInLayer, None),
        Error::Guarded { .. } => (Code::GuardAlarm, Some(run(&["guard"]))),
        Error::Busy { .. } => (Code::AlreadyRunning, None),
        Error::NoScheduler { refusals } => {
            let reasons = refusals.iter();
            let reasons = reasons.map(|(name, reason)| format!("{name}: {reason}"));
            return finish(Code::NoScheduler, reasons.collect(), None);
        }
        Error::Stopped => (Code::Stopped, None),
    };
    finish(code, chain(error), next)
}

/// What to do about a file that a person named.
fn of_file(error: &io::Error) -> Option<Next> {
    let text = match error.kind() {
        io::ErrorKind::NotFound => {
            "Check the name: one without a leading `/` is looked for in the present folder."
        }
        io::ErrorKind::AlreadyExists => {
            "Name another file, or move this one away: what is there is never replaced."
        }
        io::ErrorKind::PermissionDenied => {
            "`ls -l` shows whose it is and who may read or write it."
        }
        io::ErrorKind::InvalidData => {
            "See what is in it: another file may be meant, or what made it did not end well."
        }
        _ => return None,
    };
    let text = text.to_owned();
    Some(Next::Advice { text })
}

/// What to do about a refusal of the system, where that can be told.
fn of_refusal(error: &io::Error) -> Option<Next> {
    let text = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "`ls -ld` shows whose it is. Run ravelin as that user, or give it to yours with `chown -R`."
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "The file system takes no writes: it was mounted so, or went so after errors of the disk, which `dmesg` tells: then look after the disk first. `mount -o remount,rw` makes it writable again."
        }
        io::ErrorKind::NotFound => {
            "Check whether the drive is mounted, then run the same command again."
        }
        _ => return None,
    };
    let text = text.to_owned();
    Some(Next::Advice { text })
}

/// Explains what kept a layer from doing its part.
#[must_use]
pub fn explain_layer(error: &layer::Error, layer: &str) -> Explanation {
    let mut explanation = of_named_layer(error, None);
    explanation.because = chain(error);
    if let Next::Run { command } = &mut explanation.next
        && command.starts_with("ravelin ")
    {
        command.push_str(&format!(" --layer {layer}"));
    }
    explanation
}

fn of_named_layer(error: &layer::Error, layer: Option<&str>) -> Explanation {
    let (code, mut next) = of_layer(error);
    // Without a name, the first layer would be shown.
    if let (Code::NoSuchSnapshot, Some(layer)) = (code, layer) {
        next = Some(run(&["snapshots", "--layer", layer]));
    }
    let mut because = chain(error);
    if let Some(layer) = layer {
        because.insert(0, format!("layer `{layer}`"));
    }
    finish(code, because, next)
}

fn finish(code: Code, because: Vec<String>, next: Option<Next>) -> Explanation {
    Explanation {
        code,
        because,
        next: next.unwrap_or_else(|| Next::Advice {
            text: code.advice().to_owned(),
        }),
    }
}

fn run(words: &[&str]) -> Next {
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./~:@%+=".contains(character);
    let mut command = "ravelin".to_owned();
    for word in words {
        command.push(' ');
        if !word.is_empty() && word.chars().all(plain) {
            command.push_str(word);
        } else {
            let quoted = word.replace('\'', "'\\''");
            command.push_str(&format!("'{quoted}'"));
        }
    }
    Next::Run { command }
}

fn of_config(error: &config::Error) -> (Code, Option<Next>) {
    match error {
        config::Error::NotFound { .. } => (
            Code::ConfigMissing,
            Some(run(&["quickstart", "~/Documents"])),
        ),
        config::Error::Read { .. } => (Code::ConfigUnreadable, None),
        config::Error::Writable { path, .. } => {
            let command = format!("chmod go-w {}", path.display());
            (Code::ConfigOpen, Some(Next::Run { command }))
        }
        config::Error::Mistakes(mistakes) => {
            let next = mistakes.list.first().map(|mistake| Next::Edit {
                file: mistakes.file.display().to_string(),
                line: mistake.line,
            });
            (Code::ConfigMistakes, next)
        }
    }
}

fn of_layer(error: &layer::Error) -> (Code, Option<Next>) {
    match error {
        layer::Error::Unsupported { .. } => {
            let text = "Layers of another kind may: `ravelin status` names them all, docs/guide/layers.md says what each is for.";
            let text = text.to_owned();
            (Code::KindNotRunnable, Some(Next::Advice { text }))
        }
        layer::Error::NoFolder => (Code::KindNotRunnable, None),
        layer::Error::StoreNotRunnable { .. } => (Code::StoreNotRunnable, None),
        layer::Error::Needed { .. } => (Code::SnapshotNeeded, None),
        layer::Error::NotCreated { .. } => (Code::LayerNotCreated, None),
        layer::Error::NotEncrypted { .. } => (Code::RepositoryUnknown, None),
        layer::Error::Secret(error) => of_secret(error),
        layer::Error::NoSnapshot { .. } | layer::Error::NoneSoOld { .. } => {
            (Code::NoSuchSnapshot, Some(run(&["snapshots"])))
        }
        layer::Error::NoFile { path, .. } => {
            let name = path.name().map(String::from_utf8_lossy);
            (Code::NoSuchPath, name.map(|name| run(&["find", &name])))
        }
        layer::Error::Borg(error) => (of_borg(error), next_of_borg(error)),
        layer::Error::Duplicity(error) => of_duplicity(error),
        layer::Error::Drop(error) => of_drop(error),
        layer::Error::Store(error) => of_store(error),
        layer::Error::Location(_) => (Code::StoreLocation, None),
        layer::Error::Restore(error) => (of_restore(error), None),
        layer::Error::Io { source, .. } if is_full(source) => (Code::DiskFull, None),
        layer::Error::Io { source, .. } => (Code::Io, of_refusal(source)),
        layer::Error::Panicked => (Code::Bug, None),
    }
}

/// Explains what kept a drop folder from doing what it was asked for.
#[must_use]
pub fn explain_drop(error: &drop::Error) -> Explanation {
    let (code, next) = of_drop(error);
    let mut because = chain(error);
    because.dedup();
    Explanation {
        code,
        because,
        next: next.unwrap_or_else(|| Next::Advice {
            text: code.advice().to_owned(),
        }),
    }
}

fn of_drop(error: &drop::Error) -> (Code, Option<Next>) {
    use drop::Error as E;
    use store::ErrorKind;
    let code = match error {
        E::Store(error) => match error.kind {
            ErrorKind::NotFound => Code::LayerNotCreated,
            ErrorKind::Full => Code::DiskFull,
            ErrorKind::AlreadyExists | ErrorKind::Invalid | ErrorKind::Unsupported => {
                Code::Unexpected
            }
            _ => Code::Io,
        },
        E::Local { source, .. } => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::DiskFull,
            _ => Code::Io,
        },
        E::BadName { .. } | E::Reserved { .. } => Code::BadPath,
        E::NoFile { .. } => Code::NoSuchPath,
        E::NoVersion { .. } => Code::NoSuchSnapshot,
        E::Index { .. } | E::Missing { .. } => Code::RepositoryDamaged,
        E::Newer { .. } => Code::NotARepository,
        E::OtherFolder => Code::RepositoryUnknown,
        E::Busy { .. } => Code::RepositoryLocked,
        E::Stopped => Code::Stopped,
        _ => Code::Unexpected,
    };
    let advice = match error {
        E::Store(error) if error.kind == ErrorKind::NotFound => {
            "`ravelin drop init` makes one; if there should be one, check whether the drive is mounted"
        }
        E::Store(error) if error.kind == ErrorKind::AlreadyExists => {
            "nothing has to be done: it is there"
        }
        E::NoFile { .. } => "`ravelin drop ls` and `ravelin drop deleted` list the files",
        E::NoVersion { .. } => "`ravelin drop history PATH` lists the versions",
        E::Unsupported { .. } => {
            "docs/drop.md says how to begin, `ravelin drop --help` what there is"
        }
        E::NoPage => {
            "serve it with `ravelin ui --proxy https://NAME` on a machine that others reach, or name the page with `--page https://NAME`"
        }
        E::Conflict { .. } => "run it again",
        E::Index { .. } => {
            "the plain files and the kept copies are not affected; docs/drop.md says how to read them by hand"
        }
        E::Newer { .. } => "use the newer version on this device, too",
        E::FolderGone { .. } => {
            "check whether its drive is mounted; if all files were deleted on purpose, add `--allow-empty`"
        }
        E::Busy { .. } => "wait until it is done",
        E::BadPattern { .. } => "mend the line",
        _ => return (code, None),
    };
    let text = advice.to_owned();
    (code, Some(Next::Advice { text }))
}

fn of_borg(error: &borg::Error) -> Code {
    use borg::Error as E;
    match error {
        E::Locked { .. } => Code::RepositoryLocked,
        E::Key(borg::KeyError::WrongPassphrase) => Code::WrongPassphrase,
        E::Key(_) => Code::KeyUnusable,
        E::Start { .. } | E::NoServer { .. } | E::ConnectionLost { .. } | E::Connection { .. } => {
            Code::Unreachable
        }
        E::Remote { .. } | E::Protocol { .. } | E::PathNotAllowed { .. } => Code::ServerRefuses,
        E::DoesNotExist { .. } => Code::LayerNotCreated,
        E::AlreadyExists { .. }
        | E::PathOccupied { .. }
        | E::BelowAnother { .. }
        | E::ParentMissing { .. }
        | E::NotARepository { .. }
        | E::Version { .. }
        | E::UnknownEncryption(_)
        | E::Manifest(borg::BadManifest::Future | borg::BadManifest::Features { .. }) => {
            Code::NotARepository
        }
        E::ArchiveExists { .. } => Code::SnapshotExists,
        E::ArchiveName { .. } => Code::SnapshotName,
        E::Paper { .. } => Code::KeyUnusable,
        E::AppendOnly { .. } | E::ReadOnly { .. } => Code::NotAllowed,
        E::UnknownUnencrypted { .. }
        | E::Relocated { .. }
        | E::KeyTypeChanged { .. }
        | E::Replayed { .. } => Code::RepositoryUnknown,
        E::Tar { source } | E::Mount { source, .. } if is_full(source) => Code::DiskFull,
        E::Tar { .. } | E::Mount { .. } => Code::Io,
        E::QuotaExceeded { .. } | E::NoSpace { .. } => Code::DiskFull,
        E::Io { source, .. } | E::LocalState { source, .. } if is_full(source) => Code::DiskFull,
        E::Io { .. } | E::LocalState { .. } => Code::Io,
        E::Config { .. }
        | E::ObjectNotFound { .. }
        | E::Damaged(_)
        | E::DamagedThere { .. }
        | E::CheckNeeded { .. }
        | E::CommitDamaged { .. }
        | E::NonceGarbled { .. }
        | E::Manifest(_)
        | E::Object { .. }
        | E::Items { .. }
        | E::ArchiveTam { .. }
        | E::ChunkUnknown { .. }
        | E::ChunkSize { .. } => Code::RepositoryDamaged,
        _ => Code::Unexpected,
    }
}

/// What to do, where a case has more to say than its code.
fn next_of_borg(error: &borg::Error) -> Option<Next> {
    use borg::Error as E;
    match error {
        E::Io { source, .. } | E::LocalState { source, .. } if !is_full(source) => {
            of_refusal(source)
        }
        E::Tar { source } if !is_full(source) && source.kind() != io::ErrorKind::BrokenPipe => {
            let text = "`tar -tf FILE` says what other programs find in it; `--compress` names the compression that its name does not tell. Nothing was added to the layer.";
            let text = text.to_owned();
            Some(Next::Advice { text })
        }
        E::Mount { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            let text = "The folder to mount at has to be there (`mkdir` makes it), and `fusermount3` has to be installed: Debian's package is fuse3.";
            let text = text.to_owned();
            Some(Next::Advice { text })
        }
        E::Mount { .. } => {
            let text = "`ls -l /dev/fuse` and `fusermount3 --version` say whether this machine can mount; without it, `ravelin ls`, `cat` and `restore` show the same files.";
            let text = text.to_owned();
            Some(Next::Advice { text })
        }
        _ => None,
    }
}

fn of_store(error: &store::Error) -> (Code, Option<Next>) {
    use store::ErrorKind as K;
    let code = match error.kind {
        K::NotFound => Code::StoreMissing,
        K::Denied => Code::StoreDenied,
        K::SignIn => {
            let source = error.source.as_ref();
            let needed = source.and_then(|source| source.downcast_ref::<store::SignInNeeded>());
            return (
                Code::StoreSignIn,
                needed.map(|needed| run(&needed.arguments())),
            );
        }
        K::Full => Code::StoreFull,
        K::Busy | K::Unavailable => Code::StoreUnreachable,
        K::Changed => Code::StoreChanged,
        K::Corrupt => Code::StoreDamaged,
        K::ClockSkew => Code::StoreClock,
        K::AlreadyExists | K::Unsupported => Code::StoreCannot,
        K::Invalid => Code::StoreRefused,
        K::Io => Code::Io,
    };
    (code, None)
}

fn of_duplicity(error: &duplicity::Error) -> (Code, Option<Next>) {
    use duplicity::Error as E;
    let advice = |text: &str| {
        Some(Next::Advice {
            text: text.to_owned(),
        })
    };
    match error {
        E::Store(error) => of_store(error),
        E::Io { source, .. } if is_full(source) => (Code::DiskFull, None),
        E::Io { source, .. } => (Code::Io, of_refusal(source)),
        E::Locked => (
            Code::RepositoryLocked,
            advice("wait until the other run is done; its lock goes with it"),
        ),
        E::Open { source, .. } => match source {
            duplicity::OpenError::NoPassphrase | duplicity::OpenError::Passphrase(_) => (
                Code::WrongPassphrase,
                advice(
                    "check where the configuration says that the passphrase is kept; without it nothing can be restored",
                ),
            ),
            duplicity::OpenError::KeyNeeded => (
                Code::KeyUnusable,
                advice("set `encryption = \"keys\"` and `encrypt-to` for this layer"),
            ),
            _ => (Code::RepositoryDamaged, None),
        },
        E::Gpg { .. } => (
            Code::KeyUnusable,
            advice("see what gpg says; `gpg --list-secret-keys` shows which keys it has"),
        ),
        E::Smime { .. } => (
            Code::KeyUnusable,
            advice("only `gpgsm` can open this archive"),
        ),
        E::Target(error) => (of_restore(error), None),
        E::OtherSource { .. } => (Code::OtherSource, None),
        E::NotEncrypted { .. } => (Code::NotEncrypted, None),
        E::Hash { .. }
        | E::Damaged { .. }
        | E::Manifest { .. }
        | E::VolumeMissing { .. }
        | E::ManifestMissing { .. }
        | E::Orphan { .. }
        | E::Signatures { .. } => (Code::RepositoryDamaged, None),
        E::NoSet { .. } => (Code::NoSuchSnapshot, Some(run(&["snapshots"]))),
        E::Stopped => (Code::Stopped, None),
        // Only who goes on with sets meets it, and no layer does.
        E::Order | E::Worker | E::Seam { .. } => (Code::Bug, None),
    }
}

fn of_restore(error: &tree::RestoreError) -> Code {
    match error {
        tree::RestoreError::Full { .. } => Code::DiskFull,
        tree::RestoreError::Busy { .. } => Code::RestoreBusy,
        _ => Code::RestoreTarget,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn of_secret(error: &secret::Error) -> (Code, Option<Next>) {
    match error {
        secret::Error::Open { path, .. } => {
            let command = format!("chmod 600 {}", path.display());
            (Code::SecretOpen, Some(Next::Run { command }))
        }
        secret::Error::ForeignOwner { .. } => (Code::SecretOpen, None),
        secret::Error::Read { .. }
        | secret::Error::NotSet { .. }
        | secret::Error::NoCredential { .. }
        | secret::Error::Empty { .. }
        | secret::Error::NotText { .. } => (Code::SecretMissing, None),
        secret::Error::Start { .. } | secret::Error::Failed { .. } => (Code::SecretProgram, None),
    }
}

/// The text of docs/errors.md.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         Every error that ravelin prints carries a code in square brackets. This page says what each\n\
         means and what to do. It is made from `crates/engine/src/explain.rs`.\n",
    );
    for code in Code::ALL {
        page.push_str(&format!(
            "\n## {}\n\n{}\n\n**Next:** {}\n",
            code.name(),
            code.meaning(),
            code.advice()
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_and_survive_json() {
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), code);
        }
        let future: Code = serde_json::from_str("\"quota-of-2030\"").unwrap();
        assert_eq!(future, Code::Unexpected);
    }

    #[test]
    fn a_command_that_is_shown_can_be_pasted() {
        let shown = run(&["find", "it's here"]).to_string();
        assert_eq!(shown, r"run `ravelin find 'it'\''s here'`");
    }

    #[test]
    fn a_lost_sign_in_names_the_command_that_mends_it() {
        let needed = store::SignInNeeded {
            provider: store::Provider::Dropbox,
            account: Some("me@example.org".to_owned()),
            why: "the sign-in was revoked or has expired".to_owned(),
        };
        let error = store::Error::new(store::ErrorKind::SignIn, store::Operation::Read);
        let explanation = explain(&Error::Store(error.because(needed)));
        assert_eq!(explanation.code, Code::StoreSignIn);
        assert_eq!(
            explanation.next.to_string(),
            "run `ravelin store login dropbox --account me@example.org`"
        );
    }

    #[test]
    fn a_refusal_of_the_system_says_what_mends_it() {
        let refused = |kind: io::ErrorKind| {
            let source = layer::Error::Borg(borg::Error::Io {
                action: "create",
                path: "/mnt/disk/lock".into(),
                source: kind.into(),
            });
            let layer = "disk".to_owned();
            let explanation = explain(&Error::Layer { layer, source });
            (explanation.code, explanation.next.to_string())
        };
        for (kind, code, part) in [
            (io::ErrorKind::ReadOnlyFilesystem, Code::Io, "remount,rw"),
            (io::ErrorKind::PermissionDenied, Code::Io, "ls -ld"),
            (io::ErrorKind::NotFound, Code::Io, "drive is mounted"),
            (io::ErrorKind::StorageFull, Code::DiskFull, "Make space"),
        ] {
            let (said, next) = refused(kind);
            assert_eq!(said, code);
            assert!(next.contains(part), "{next}");
        }
    }

    #[test]
    fn the_chain_is_printed_once() {
        let error = Error::Layer {
            layer: "disk".to_owned(),
            source: layer::Error::Secret(secret::Error::NotSet {
                name: "PASS".to_owned(),
            }),
        };
        let explanation = explain(&error);
        assert_eq!(explanation.code, Code::SecretMissing);
        assert_eq!(
            explanation.because,
            [
                "layer `disk`",
                "the passphrase cannot be fetched",
                "the variable PASS is not set"
            ]
        );
    }
}
