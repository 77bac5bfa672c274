//! The command line.

pub(crate) mod drop;
pub(crate) mod elsewhere;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Of so many commands, those of the first hour.
const BEGIN: &str = "To begin: `ravelin quickstart ~/Documents`. Day by day: status, snapshots, find, restore. \
                     To be left alone: schedule install, drill. For the worst day: runbook.";

/// Backups in several independent layers, each of which a stock tool can restore.
#[derive(Debug, Parser)]
#[command(
    name = "ravelin",
    version,
    max_term_width = 100,
    subcommand_required = true
)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = BEGIN)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is meant by the words of a command line: `help COMMAND` is `COMMAND --help`, as people type it
/// too. Clap's own command for that would double every page of the reference.
pub(crate) fn meant(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "With every command")]
pub(crate) struct Common {
    /// The configuration file [default: ravelin/ravelin.toml in the configuration home]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "RAVELIN_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Print data as JSON; docs/json.md says which
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress, no good news
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Good news also without a terminal
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Protect a folder now: first configuration, backup, verification, one file restored as proof
    Quickstart(Quickstart),
    /// Write a first configuration if there is none, and create the layers that are missing
    Init(Init),
    /// Do everything that is due: back up, and read layers back. What a timer calls
    Run(Run),
    /// Back up now, due or not
    Backup(Backup),
    /// List the snapshots of a layer
    Snapshots(OfLayer),
    /// List what a snapshot holds
    Ls(Ls),
    /// Write the content of a file to stdout
    Cat(Cat),
    /// Look for a name in all snapshots of all layers
    Find(Find),
    /// Bring the index that `find` asks up to date, and say what it holds
    Catalogue(Catalogue),
    /// Show what changed between two snapshots
    Diff(Diff),
    /// Bring files back
    Restore(Restore),
    /// Take back a restore, within a week: what it replaced comes back, what it created goes
    Undo(Undo),
    /// Read layers back and check them
    Verify(Verify),
    /// Restore some files as a new machine would, and compare them with what was backed up
    Drill(Drill),
    /// Tell people what there is to be told: that a layer is late, failed, or good again
    Notify(Notify),
    /// Remove the snapshots that the `keep` rules do not keep, and free their space
    Prune(Prune),
    /// Say whether an alarm keeps old snapshots from being removed, and end it
    Guard(Guard),
    /// Delete snapshots, whatever the rules say
    Delete(Delete),
    /// Free the space of what was deleted
    Compact(Compact),
    /// Give a snapshot another name
    Rename(Rename),
    /// Write a remark about a snapshot, or show it
    Comment(Comment),
    /// Make snapshots anew: compressed or cut in another way, or without some of their files
    Recreate(Recreate),
    /// End a chain of increments: make a full snapshot out of it, without the files
    Synthesize(Synthesize),
    /// Say how much a layer or a snapshot holds and takes
    Info(Info),
    /// Say what is damaged, and mend what can be mended
    Repair(Repair),
    /// Say which program has locked a layer, and break its lock
    Unlock(Unlock),
    /// Change, copy or move the key of a layer
    #[command(subcommand)]
    Key(Key),
    /// Say whether the files are protected; the exit code is 4 when a layer is not good, 1 when none is
    Status(Status),
    /// What was done to the layers, and how sizes and durations went
    History(History),
    /// Which files does one layer have that another lacks?
    Compare(Compare),
    /// Print how to get everything back, with this program and without it, as a page to be filed
    Runbook(Runbook),
    /// All of this as a page in the browser
    Ui(Ui),
    /// Let cron or systemd call `ravelin run`
    #[command(subcommand)]
    Schedule(Schedule),
    /// Say why a path is, or is not, in the backup
    Explain(Explain),
    /// Files at hand on every device, with history and links
    Drop(drop::Drop),
    /// Try the place where backups are kept, or sign in to it
    #[command(subcommand)]
    Store(Store),
    /// Look at the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print what lets a shell complete this command line
    Completions(Completions),
    /// Print the manual page, or write one for each command
    Man(Man),
    /// Export a snapshot as a tar file, or make one of a tar file
    #[command(subcommand)]
    Tar(Tar),
    /// Show snapshots as a folder
    Mount(Mount),
    /// End what `mount` has begun
    Umount(Umount),
    /// Borg's own command line; also when this program is called by the name `borg`
    #[command(disable_help_flag = true)]
    Borg(Borg),
    /// Duplicity's own command line; also when this program is called by the name `duplicity`
    #[command(disable_help_flag = true)]
    Duplicity(StockWords),
}

/// What another program's command line says.
#[derive(Debug, Args)]
pub(crate) struct StockWords {
    /// What duplicity is given: `ravelin duplicity --help` tells it all
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "WORD"
    )]
    pub(crate) words: Vec<OsString>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tar {
    /// Write a snapshot as a tar file
    Export(TarExport),
    /// Make a snapshot of a tar file
    Import(TarImport),
}

#[derive(Debug, Args)]
pub(crate) struct TarExport {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date
    pub(crate) snapshot: String,
    /// The tar file, which must not be there yet; `-` for stdout
    pub(crate) file: PathBuf,
    /// Only this; a folder with all that it holds [default: everything]
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// What is kept: `gnu` for every tar program, `pax` with extended attributes, ACLs and
    /// nanoseconds, `borg` with all that Borg knows
    #[arg(long, value_enum, default_value = "gnu")]
    pub(crate) form: Form,
    /// How the file is compressed; `auto` goes by the ending of its name
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) compress: Filter,
}

#[derive(Debug, Args)]
pub(crate) struct TarImport {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// The tar file; `-` for stdin
    pub(crate) file: PathBuf,
    /// What the snapshot is called [default: this machine and the time]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How the file is compressed; `auto` goes by the ending of its name
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) compress: Filter,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Form {
    Gnu,
    Pax,
    Borg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Filter {
    Auto,
    None,
    Gzip,
    Zstd,
    Xz,
    Lz4,
}

#[derive(Debug, Args)]
pub(crate) struct Mount {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// An empty folder
    #[arg(value_name = "FOLDER")]
    pub(crate) mount_point: PathBuf,
    /// Only this one: a name, `latest`, `latest~1`, or a date [default: a folder for each]
    #[arg(long, value_name = "SNAPSHOT")]
    pub(crate) snapshot: Option<String>,
    /// All snapshots as one tree, in which each file is a folder with its versions
    #[arg(long, conflicts_with = "snapshot")]
    pub(crate) versions: bool,
    /// Let other users in, as far as the permissions of the files let them
    #[arg(long)]
    pub(crate) allow_other: bool,
    /// Stay until it is unmounted, or Ctrl-C
    #[arg(long, short)]
    pub(crate) foreground: bool,
    /// Said by the program to itself
    #[arg(long, hide = true)]
    pub(crate) is_background: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Umount {
    /// Where something is mounted
    #[arg(value_name = "FOLDER")]
    pub(crate) mount_point: PathBuf,
}

/// What stands behind the word is read by its own rules: see `ravelin borg help`.
#[derive(Debug, Args)]
pub(crate) struct Borg {
    /// As Borg documents it: `ravelin borg help`
    #[arg(
        value_name = "ARGUMENTS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    _arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell: its start-up file evaluates the output, or its folder of completions holds it
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write `ravelin.1`, `ravelin-backup.1` and so on into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Quickstart {
    /// What to protect. Needed the first time; later the configuration knows it
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// What to protect, for a first configuration [default: the home directory]
    #[arg(long = "source", value_name = "PATH")]
    pub(crate) sources: Vec<PathBuf>,
    /// The folder of the first layer [default: ravelin/disk in the data home]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) store: Option<PathBuf>,
    /// Take over the settings of another program; stores are not touched
    #[arg(long, value_name = "PROGRAM", conflicts_with_all = ["sources", "store"])]
    pub(crate) import: Option<crate::import::Program>,
    /// The settings to take over; `-` reads stdin [default: where the program has them]
    #[arg(long, value_name = "FILE", requires = "import")]
    pub(crate) settings: Option<PathBuf>,
    /// With `--import`, the same as `--settings FILE`
    #[arg(value_name = "FILE", conflicts_with_all = ["settings", "from"])]
    pub(crate) file: Option<PathBuf>,
    /// Take the configuration of a lost machine out of this store of one of its layers
    #[arg(long, value_name = "STORE", conflicts_with_all = ["sources", "store", "import"])]
    pub(crate) from: Option<String>,
    /// Open that layer with the passphrase in this file [default: ask]
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Open it with the passphrase in this environment variable
    #[arg(
        long,
        value_name = "NAME",
        requires = "from",
        conflicts_with = "passphrase_file"
    )]
    pub(crate) passphrase_env: Option<String>,
    /// Where the configuration was on the lost machine, if not in a `ravelin.toml`
    #[arg(long, value_name = "PATH", requires = "from")]
    pub(crate) path: Option<PathBuf>,
    /// The name of the lost machine, where several share the store
    #[arg(long, value_name = "NAME", requires = "from")]
    pub(crate) host: Option<String>,
    /// Only show what would be written and created
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Only show what is due
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The layers to back up to [default: all]
    #[arg(value_name = "LAYER")]
    pub(crate) layers: Vec<String>,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

/// Which layer is looked into.
#[derive(Debug, Args)]
pub(crate) struct OfLayer {
    /// Which layer [default: the first of the configuration]
    #[arg(long, short, value_name = "LAYER")]
    pub(crate) layer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date
    pub(crate) snapshot: String,
    /// Where to look [default: the top]. A relative path is looked for from the
    /// current folder, then from the top of the snapshot
    pub(crate) path: Option<PathBuf>,
    /// Everything below, not only one level
    #[arg(long, short)]
    pub(crate) recursive: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date
    pub(crate) snapshot: String,
    /// Which file. A relative path is looked for from the current folder, then from the top of
    /// the snapshot
    pub(crate) path: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Catalogue {
    /// Throw it away first, and read every snapshot of every layer again
    #[arg(long)]
    pub(crate) rebuild: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Find {
    /// Read the snapshots of this layer, without the catalogue [default: ask the catalogue for all]
    #[arg(long, short, value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Show so many paths and no more; 0: all [default: 1000, and with --json all]
    #[arg(long, value_name = "COUNT", conflicts_with = "layer")]
    pub(crate) limit: Option<usize>,
    /// A part of a name, or a whole name or path with `*`, `?`, `[…]` and `**`
    #[arg(value_name = "NAME")]
    pub(crate) pattern: OsString,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// The older snapshot: a name, `latest~1` and so on, or a date
    #[arg(value_name = "FROM")]
    pub(crate) from: String,
    /// The newer snapshot
    #[arg(value_name = "TO")]
    pub(crate) to: String,
    /// Only at this path and below it
    pub(crate) path: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["to", "in_place"]))]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date; not with --at
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshot: OsString,
    /// What to bring back; a folder with all that it holds. A relative path is looked for from
    /// the current folder, then from the top of the snapshot
    #[arg(required_unless_present = "at", value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// As it was then, from the fastest layer that is healthy and has it: `yesterday`, `last tuesday`,
    /// `3 days ago`, `2026-11-24 14:30`. Instead of a snapshot
    #[arg(long, value_name = "WHEN")]
    pub(crate) at: Option<String>,
    /// Into this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
    /// To where it was
    #[arg(long)]
    pub(crate) in_place: bool,
    /// What to do where something stands already
    #[arg(long, value_enum, default_value = "keep-both")]
    pub(crate) conflict: Conflict,
    /// Bring back rights beyond those of ordinary files too: set-uid, device nodes, file
    /// capabilities, inode flags. For whole systems, from a layer that is trusted
    #[arg(long)]
    pub(crate) as_it_was: bool,
    /// Keep what is replaced, and remember what is created, so that `ravelin undo` can take it back within a
    /// week: at most 2 GiB and 200,000 objects
    #[arg(long, conflicts_with_all = ["at", "dry_run"])]
    pub(crate) undoable: bool,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Conflict {
    /// Restore beside it under a new name
    KeepBoth,
    /// Replace what stands there
    Overwrite,
    /// Leave alone what stands there
    Skip,
    /// Replace what stands there unless it is right already
    OnlyIfDifferent,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The layers to verify [default: all]
    #[arg(value_name = "LAYER")]
    pub(crate) layers: Vec<String>,
    /// Read every byte back, not only the structure
    #[arg(long)]
    pub(crate) data: bool,
    /// Read for so long (`10 min`), from where this has stopped the last time: the checksums of a
    /// part of the store
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "data")]
    pub(crate) max_duration: Option<std::time::Duration>,
    /// Let stock `borg` or `duplicity` check the layers, where they are installed
    #[arg(long, conflicts_with_all = ["data", "max_duration"])]
    pub(crate) second_opinion: bool,
}

/// A duration as people write it.
fn time(text: &str) -> Result<std::time::Duration, String> {
    let time = engine::config::duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| "not a time like `90 s`, `10 min` or `2 h`".to_owned())
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).multiple(true)
    .args(["compression", "chunker_params", "without"]))]
pub(crate) struct Recreate {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// Names, `latest`, `latest~1` for the one before, or dates [default: all]
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    /// Compress all their content anew: `none`, `lz4`, `zstd,LEVEL`, `zlib,LEVEL`, `lzma,LEVEL`
    #[arg(long, value_name = "METHOD")]
    pub(crate) compression: Option<borg::Compression>,
    /// Cut their files anew, where they were cut in another way: `default`,
    /// `buzhash,MIN,MAX,MASK,WINDOW` or `fixed,SIZE`
    #[arg(long, value_name = "PARAMS")]
    pub(crate) chunker_params: Option<borg::ChunkerParams>,
    /// Leave this out, with all that it holds; may be given several times. A relative path is looked
    /// for from the current folder, then from the top of the snapshots
    #[arg(long, value_name = "PATH")]
    pub(crate) without: Vec<PathBuf>,
    /// Only show what would be done
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// The layers to compare, by their newest snapshots [default: all]
    #[arg(value_name = "LAYER")]
    pub(crate) layers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Drill {
    /// The layers to drill [default: all]
    #[arg(value_name = "LAYER")]
    pub(crate) layers: Vec<String>,
    /// Restore nothing; print what the last drills showed, as a page to be filed
    #[arg(long)]
    pub(crate) evidence: bool,
    /// Ask for each passphrase, rather than fetch it from where it is kept: is it still known?
    #[arg(long, conflicts_with = "evidence")]
    pub(crate) type_passphrase: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Notify {
    /// Send a test to everybody
    #[arg(long)]
    pub(crate) test: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The layers to prune [default: all that have rules]
    #[arg(value_name = "LAYER")]
    pub(crate) layers: Vec<String>,
    /// Only show what stays, by which rule, and what would go
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Which disasters the layers survive, what is lost then, and the weakest point
    #[arg(long)]
    pub(crate) scenarios: bool,
    /// How all machines stand that say so in these stores [default: that of `[fleet]`]
    #[arg(long, value_name = "STORE", num_args = 0.., conflicts_with = "scenarios")]
    pub(crate) fleet: Option<Vec<String>>,
    /// Do not miss this machine any more in `--fleet`: it is no more
    #[arg(long, value_name = "MACHINE", conflicts_with_all = ["scenarios", "fleet"])]
    pub(crate) forget: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only of this layer [default: all]
    pub(crate) layer: Option<String>,
    /// The last ones, so many
    #[arg(long, value_name = "NUMBER", default_value = "20")]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Runbook {
    /// As a page for a browser, to be printed, in place of Markdown
    #[arg(long)]
    pub(crate) html: bool,
    /// Add a copy of the key of each Borg layer, locked with its passphrase: lines to be typed, and a code
    /// for a camera
    #[arg(long)]
    pub(crate) keys: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Guard {
    /// What was seen was no attack: remove old snapshots again as the rules say
    #[arg(long)]
    pub(crate) go_on: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// Names, `latest`, `latest~1` for the one before, or dates
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    /// Only show what would go
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Compact {
    /// Which layer [default: the first of the configuration]
    #[arg(value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Only show what would be freed
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Which restore: as `restore --undoable` has called it. Left out, those of the last week are listed
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unlock {
    /// Which layer [default: the first of the configuration]
    #[arg(value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Break the lock: the program that holds it is certainly gone. Two that write at once would do
    /// harm
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Synthesize {
    /// Which layer [default: the first of the configuration]
    #[arg(value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Only say which snapshots it would be made of
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Rename {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date
    pub(crate) snapshot: String,
    /// The new name. `keep` rules pass over snapshots whose names are not those that Ravelin gives
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Comment {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date
    pub(crate) snapshot: String,
    /// The remark [default: show the one that there is]
    pub(crate) text: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A name, `latest`, `latest~1` for the one before, or a date [default: the whole layer]
    pub(crate) snapshot: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// Which layer [default: the first of the configuration]
    #[arg(value_name = "LAYER")]
    pub(crate) layer: Option<String>,
    /// Only say what is damaged and what would be done
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Read every byte back, not only the structure
    #[arg(long)]
    pub(crate) data: bool,
    /// Believe a layer that was moved, or set back to an older state, on purpose
    #[arg(long)]
    pub(crate) trust: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Lock the key with another passphrase
    ChangePassphrase(ChangePassphrase),
    /// Write a copy of the key for a safe place. It is locked with the passphrase
    Export(ExportKey),
    /// Put a copy of the key back
    Import(ImportKey),
    /// Keep the key in the repository, or in a file of this machine
    Move(MoveKey),
}

#[derive(Debug, Args)]
pub(crate) struct ChangePassphrase {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// A file with the new passphrase, readable by its owner only
    #[arg(long, value_name = "FILE", required_unless_present = "new_env")]
    pub(crate) new_file: Option<PathBuf>,
    /// An environment variable with the new passphrase
    #[arg(long, value_name = "NAME", conflicts_with = "new_file")]
    pub(crate) new_env: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportKey {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// As lines to be printed and typed again
    #[arg(long)]
    pub(crate) paper: bool,
    /// As a code for a camera: on a terminal, into an `.svg` picture, or with the lines of
    /// `--paper` into an `.html` page to be printed
    #[arg(long, conflicts_with = "paper")]
    pub(crate) qr: bool,
    /// Into this new file [default: stdout]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportKey {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// The copy, in either form; `-` for stdin
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct MoveKey {
    #[command(flatten)]
    pub(crate) of: OfLayer,
    /// Where to
    #[arg(value_enum)]
    pub(crate) to: KeyPlace,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeyPlace {
    /// With the data: the passphrase is all that it takes to restore
    Repository,
    /// In a file of this machine: it takes that file and the passphrase
    File,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Which path
    pub(crate) path: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Try a place: does it keep its promises, how fast is it, who can delete what is there?
    Test(StoreTest),
    /// Sign in to Google Drive or Dropbox
    Login(StoreLogin),
}

#[derive(Debug, Args)]
pub(crate) struct StoreTest {
    /// Where: `/path`, `sftp://host/path`, `s3://endpoint/bucket`, `b2://bucket`, `gdrive:/Folder`
    /// and so on; docs/stores.md shows all. Works in a folder of its own, and empties it
    pub(crate) location: String,
}

#[derive(Debug, Args)]
pub(crate) struct StoreLogin {
    /// Which service
    #[arg(value_enum)]
    pub(crate) service: LoginService,
    /// A name for the account, if there are several: `gdrive://NAME/Folder` uses it
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// The id of the client that you registered with the service [default: that of the last
    /// sign-in]. A secret is taken from the variable RAVELIN_CLIENT_SECRET
    #[arg(long, value_name = "ID", conflicts_with = "client_file")]
    pub(crate) client_id: Option<String>,
    /// The client's file, as Google's console offers it for download
    #[arg(long, value_name = "FILE")]
    pub(crate) client_file: Option<PathBuf>,
    /// Sign in on another machine: by a code that is typed in there, or copied from there
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// The port of this machine that the browser comes back to [default: any; for Dropbox 53682]
    #[arg(long, conflicts_with = "no_browser")]
    pub(crate) port: Option<u16>,
    /// Where the sign-in is kept
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) keep: KeepIn,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LoginService {
    /// Google Drive
    Gdrive,
    /// Dropbox
    Dropbox,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeepIn {
    /// In the desktop's keyring if there is one, else in a file
    Auto,
    /// In the desktop's keyring
    Keyring,
    /// In a file that only its owner can read
    File,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Schedule {
    /// Install a timer that calls `ravelin run` every few minutes; what is due, it decides itself
    Install(Install),
    /// Remove what was installed
    Remove,
    /// Show what is installed, and when each layer is due
    Status,
    /// Write the units of systemd that a package brings; nothing is enabled by that
    Units(Units),
}

#[derive(Debug, Args)]
pub(crate) struct Units {
    /// The folder that gets `system` and `user`: `/usr/lib/systemd` of the package
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: PathBuf,
    /// Where the program will be
    #[arg(long, value_name = "PATH", default_value = "/usr/bin/ravelin")]
    pub(crate) program: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Ui {
    /// Where the page is served; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7848")]
    pub(crate) listen: SocketAddr,
    /// Do not open a browser
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// What people type into their browser when a proxy that speaks TLS brings their requests here:
    /// `https://NAME`. Takes a password
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// Speak TLS, for browsers on other machines, with a certificate of our own making, whose
    /// fingerprint is printed. Takes a password
    #[arg(long, conflicts_with = "proxy")]
    pub(crate) tls: bool,
    /// Speak TLS with this certificate: PEM, with those between it and its authority behind it
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "proxy")]
    pub(crate) certificate: Option<PathBuf>,
    /// The private key of the certificate: PEM, not readable by others
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// A name or address of this machine that browsers reach it by through TLS; all others are
    /// refused [default: those of the certificate, else what this machine is called, and its addresses]
    #[arg(long, value_name = "NAME", conflicts_with = "proxy")]
    pub(crate) name: Vec<String>,
    /// Set the password for visitors from other machines: a file readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Who calls it [default: systemd where it can, else cron]
    #[arg(long, value_enum)]
    pub(crate) by: Option<Scheduler>,
    /// How often, in minutes
    #[arg(long, value_name = "MINUTES", default_value = "15", value_parser = minutes)]
    pub(crate) every: u8,
    /// Only show what would be installed
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
}

/// A number of minutes after which an hour begins anew.
fn minutes(text: &str) -> Result<u8, String> {
    const ALLOWED: [u8; 8] = [5, 6, 10, 12, 15, 20, 30, 60];
    let minutes = text.parse().ok();
    minutes
        .filter(|minutes| ALLOWED.contains(minutes))
        .ok_or_else(|| "one of 5, 6, 10, 12, 15, 20, 30, 60".to_owned())
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Scheduler {
    /// A timer of the user's systemd; of the system's for root
    Systemd,
    /// A line in the user's crontab
    Cron,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Read the configuration and report all its mistakes
    Check,
    /// Print every setting in effect and where it comes from
    Show,
    /// Print the JSON Schema of the configuration, by which editors check and complete it
    Schema,
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::{env, fs};

    use clap::{Command, CommandFactory};

    use super::*;
    use crate::exit::Exit;

    /// The text of docs/cli.md.
    fn page() -> String {
        let mut page = String::from(
            "# The command line\n\n\
             What `ravelin` and each of its commands understand. Data goes to stdout, people's text to\n\
             stderr. Without a terminal nothing is said when all is well, so that cron sends no mail; see\n\
             [json.md](json.md) for what `--json` prints and [errors.md](errors.md) for the codes in square\n\
             brackets. A flag counts more than an environment variable, a variable more than the file.\n\n\
             This page is made from the program's own help; a test holds them together.\n\n\
             ## Exit codes\n\n| code | meaning |\n|---|---|\n",
        );
        for (exit, meaning) in Exit::ALL {
            page.push_str(&format!("| {} | {meaning} |\n", exit.number()));
        }
        let mut root = Cli::command().term_width(90);
        root.build();
        add(&mut page, "ravelin", &mut root);
        page
    }

    fn add(page: &mut String, name: &str, command: &mut Command) {
        let help = command.render_long_help().to_string();
        page.push_str(&format!(
            "\n## {name}\n\n```text\n{}\n```\n",
            help.trim_end()
        ));
        for below in command.get_subcommands_mut() {
            let name = format!("{name} {}", below.get_name());
            add(page, &name, below);
        }
    }

    #[test]
    fn the_reference_is_what_the_help_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let page: Vec<String> = page()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        let page = page.join("\n") + "\n";
        if env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
            fs::write(&path, &page).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            written, page,
            "mend it with SNAPSHOTS=overwrite cargo test -p ravelin"
        );
    }

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
