//! One file a command.

mod backup;
mod cat;
mod catalogue;
mod comment;
mod compact;
mod compare;
mod completions;
mod config;
mod delete;
mod diff;
mod drill;
mod drop;
mod explain;
mod find;
mod guard;
mod history;
mod info;
mod init;
mod key;
mod ls;
mod man;
mod mount;
mod notify;
mod prune;
pub(crate) mod qr;
mod quickstart;
mod recover;
mod recreate;
mod rename;
mod repair;
mod restore;
mod run;
mod runbook;
mod schedule;
mod snapshots;
mod status;
mod store;
mod synthesize;
mod tar;
pub(crate) mod ui;
mod undo;
mod unlock;
mod verify;

use std::io;
use std::path::PathBuf;

use engine::browse::OpenedLayer;
use engine::layer::{Access, Layer};
use engine::upkeep::Upkeep;
use engine::{Config, Context, Machine, Snapshot, Stop};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use tree::TreePath;

use crate::cli::{Cli, Command, OfLayer};
use crate::exit::Exit;
use crate::output::Output;

/// What every command works with.
pub(crate) struct Session<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) config_file: PathBuf,
    pub(crate) output: Output,
    pub(crate) stop: &'a Stop,
    pub(crate) zone: TimeZone,
}

/// Why a command ended early.
pub(crate) enum Ended {
    /// The engine could not do it.
    Engine(engine::Error),
    /// The drop folder could not do it.
    Drop(::drop::Error),
    /// Our own output cannot be written.
    Output(io::Error),
}

impl From<::drop::Error> for Ended {
    fn from(error: ::drop::Error) -> Self {
        Self::Drop(error)
    }
}

impl From<engine::Error> for Ended {
    fn from(error: engine::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, session: &Session<'_>) -> Result<Exit, Ended> {
    match &cli.command {
        Command::Quickstart(arguments) => quickstart::run(arguments, session),
        Command::Init(arguments) => init::run(arguments, session),
        Command::Run(arguments) => run::run(arguments, session),
        Command::Backup(arguments) => backup::run(arguments, session),
        Command::Snapshots(of) => snapshots::run(of, session),
        Command::Ls(arguments) => ls::run(arguments, session),
        Command::Cat(arguments) => cat::run(arguments, session),
        Command::Find(arguments) => find::run(arguments, session),
        Command::Catalogue(arguments) => catalogue::run(arguments, session),
        Command::Diff(arguments) => diff::run(arguments, session),
        Command::Explain(arguments) => explain::run(arguments, session),
        Command::Restore(arguments) => restore::run(arguments, session),
        Command::Verify(arguments) => verify::run(arguments, session),
        Command::Drill(arguments) => drill::run(arguments, session),
        Command::Notify(arguments) => notify::run(arguments, session),
        Command::Prune(arguments) => prune::run(arguments, session),
        Command::Guard(arguments) => guard::run(arguments, session),
        Command::Delete(arguments) => delete::run(arguments, session),
        Command::Compact(arguments) => compact::run(arguments, session),
        Command::Rename(arguments) => rename::run(arguments, session),
        Command::Comment(arguments) => comment::run(arguments, session),
        Command::Recreate(arguments) => recreate::run(arguments, session),
        Command::Synthesize(arguments) => synthesize::run(arguments, session),
        Command::Info(arguments) => info::run(arguments, session),
        Command::Repair(arguments) => repair::run(arguments, session),
        Command::Undo(arguments) => undo::run(arguments, session),
        Command::Unlock(arguments) => unlock::run(arguments, session),
        Command::Key(which) => key::run(which, session),
        Command::Status(arguments) => status::run(arguments, session),
        Command::History(arguments) => history::run(arguments, session),
        Command::Compare(arguments) => compare::run(arguments, session),
        Command::Runbook(arguments) => runbook::run(arguments, session),
        Command::Drop(arguments) => drop::run(arguments, session),
        Command::Store(which) => store::run(which, session),
        Command::Schedule(which) => schedule::run(which, session),
        Command::Config(which) => config::run(which, session),
        Command::Completions(arguments) => completions::run(arguments, session),
        Command::Man(arguments) => man::run(arguments, session),
        Command::Tar(which) => tar::run(which, session),
        Command::Mount(arguments) => mount::run(arguments, session),
        Command::Umount(arguments) => mount::unmount(arguments, session),
        // They need no configuration and have ended before.
        Command::Borg(_) | Command::Duplicity(_) | Command::Ui(_) => Ok(Exit::Good),
    }
}

impl Session<'_> {
    /// Ends a command well, with what it found as JSON.
    pub(crate) fn answer(&self, found: &impl Serialize) -> Result<Exit, Ended> {
        self.output.json(found)?;
        Ok(Exit::Good)
    }

    /// Reads the configuration.
    pub(crate) fn config(&self) -> Result<Config, Ended> {
        let config = Config::read(&self.config_file, &self.machine.places);
        Ok(config.map_err(engine::Error::from)?)
    }

    /// Does something with the configuration and the way to open its layers.
    pub(crate) fn with_context<T>(
        &self,
        config: &Config,
        work: impl FnOnce(Context<'_>) -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        let open = |layer: &engine::config::Layer, access| {
            engine::layer::open(layer, access, self.machine)
        };
        work(Context {
            config,
            machine: self.machine,
            open: &open,
        })
    }

    /// Opens the layer that is asked for, for reading, and does something with it.
    pub(crate) fn with_layer<T>(
        &self,
        of: &OfLayer,
        work: impl FnOnce(&mut Opened) -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        self.with_open(of.layer.as_deref(), Access::Read, work)
    }

    /// Opens a layer, by default the first, and does something with it.
    pub(crate) fn with_open<T>(
        &self,
        name: Option<&str>,
        access: Access,
        work: impl FnOnce(&mut Opened) -> Result<T, Ended>,
    ) -> Result<T, Ended> {
        let config = self.config()?;
        let layer = engine::choose_layer(&config, name)?;
        let name = layer.name.clone();
        let opened = engine::layer::open(layer, access, self.machine);
        let layer = opened.map_err(engine::Error::of_layer(&name))?;
        work(&mut Opened { name, layer })
    }
}

/// An open layer and its name.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) layer: Box<dyn Layer>,
}

impl Opened {
    /// Says which layer an error is about.
    pub(crate) fn check<T>(&self, result: Result<T, engine::layer::Error>) -> Result<T, Ended> {
        Ok(result.map_err(engine::Error::of_layer(&self.name))?)
    }

    /// Does something that keeps the layer in order.
    pub(crate) fn upkeep<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Upkeep) -> Result<T, engine::layer::Error>,
    ) -> Result<T, Ended> {
        let done = match self.layer.upkeep() {
            Some(upkeep) => work(upkeep),
            None => Err(engine::layer::Error::Unsupported {
                what: "be changed in this way",
            }),
        };
        self.check(done)
    }

    /// Tells the catalogue that snapshots were deleted, renamed or, under these names, made anew.
    pub(crate) fn tell_catalogue(
        &mut self,
        anew: &[String],
        session: &Session<'_>,
    ) -> Result<(), Ended> {
        let config = session.config()?;
        if let Some(layer) = config.layer(&self.name) {
            engine::catalogue::changed(layer, anew, &mut *self.layer, session.machine);
        }
        Ok(())
    }

    /// The snapshot that a person means.
    pub(crate) fn snapshot(&mut self, typed: &str, zone: &TimeZone) -> Result<Snapshot, Ended> {
        let snapshots = self.layer.snapshots();
        let snapshots = self.check(snapshots)?;
        self.check(engine::browse::choose(&snapshots, typed, zone))
    }

    /// The path that a person means, as it stands in the snapshots; the top when none was typed.
    pub(crate) fn path(
        &mut self,
        snapshots: &[&Snapshot],
        typed: Option<&PathBuf>,
    ) -> Result<TreePath, Ended> {
        let Some(typed) = typed else {
            return Ok(TreePath::root());
        };
        let here = std::env::current_dir()?;
        let mut opened = OpenedLayer {
            name: &self.name,
            layer: &mut *self.layer,
        };
        Ok(engine::browse::locate(
            &mut opened,
            snapshots,
            typed,
            &here,
        )?)
    }
}

/// A time of a file system on the calendar, clamped to where the calendar ends.
pub(crate) fn timestamp(time: tree::Time) -> Timestamp {
    Timestamp::from_nanosecond(time.nanoseconds.into()).unwrap_or(Timestamp::MAX)
}
