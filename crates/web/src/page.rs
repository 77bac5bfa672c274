//! What the page knows while it is served.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::history::Operation;
use engine::timer::{self, Installed, Tools};
use engine::{Config, Context, History, Machine, Outlines, Status};
use jiff::{Timestamp, ZonedDateTime};
use tokio::sync::Semaphore;

use crate::Address;
use crate::audit::Audit;
use crate::fault::Fault;
use crate::job::Jobs;
use crate::rate::Rate;
use crate::session::Sessions;

/// How often the system calls us, in minutes.
const EVERY: u8 = 15;

/// How long what the schedulers said is believed.
const ASKED_AGAIN: Duration = Duration::from_secs(300);

/// Guests who may send files at a time.
const GUEST_UPLOADS: usize = 4;

/// What the page is told when it begins.
pub struct Setup {
    /// Where it runs.
    pub machine: Machine,
    /// The configuration that it shows and edits; need not be there yet.
    pub config_file: PathBuf,
    /// What a scheduler is to call. Nothing that a browser sends changes it.
    pub program: PathBuf,
    /// The programs that speak to the schedulers.
    pub tools: Tools,
    /// Where it is served.
    pub address: Address,
    /// Told new links to sign in with, for whoever sees the terminal.
    pub tell: Box<dyn Fn(&str) + Send + Sync>,
}

/// The page and its state. What must outlive the program stands in the state home; a session, a
/// running job and its progress end with it.
pub struct Page {
    pub(crate) machine: Machine,
    pub(crate) config_file: PathBuf,
    program: PathBuf,
    tools: Tools,
    /// What the schedulers said, and when: asking takes programs of the system.
    scheduled: Mutex<Option<(Instant, Vec<Installed>)>>,
    pub(crate) address: Address,
    pub(crate) tell: Box<dyn Fn(&str) + Send + Sync>,
    pub(crate) sessions: Sessions,
    pub(crate) jobs: Jobs,
    pub(crate) audit: Audit,
    /// What was read of the history.
    history: Mutex<Outlines>,
    /// The links of the drop folder at a place: they count wrong passwords.
    pub(crate) links: Mutex<Option<(String, Arc<drop::Links>)>>,
    pub(crate) guests: Rate,
    /// What is gathered to be put back.
    pub(crate) basket: Mutex<crate::screens::restore::Basket>,
    /// A sign-in to a cloud that is under way.
    pub(crate) sign_in: Mutex<Option<crate::screens::layers::Waiting>>,
    /// Turns for guests who send files: each takes a thread and room on the disk.
    pub(crate) guest_uploads: Semaphore,
}

impl Page {
    /// A page that nobody is signed in to.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let Setup {
            machine,
            config_file,
            program,
            tools,
            address,
            tell,
        } = setup;
        Self {
            audit: Audit::new(&machine.places.state),
            machine,
            config_file,
            program,
            tools,
            scheduled: Mutex::default(),
            address,
            tell,
            sessions: Sessions::default(),
            jobs: Jobs::default(),
            history: Mutex::default(),
            links: Mutex::default(),
            guests: Rate::default(),
            basket: Mutex::default(),
            sign_in: Mutex::default(),
            guest_uploads: Semaphore::new(GUEST_UPLOADS),
        }
    }

    /// A link that signs in whoever follows it first, within ten minutes. Links made before are
    /// worth nothing from now on.
    ///
    /// # Errors
    ///
    /// When the system has no random numbers.
    pub fn invite(&self) -> io::Result<String> {
        let secret = self
            .sessions
            .invite(self.now().timestamp(), self.machine.random)?;
        Ok(format!("{}/sign-in?link={secret}", self.address.url()))
    }

    /// The machine that it runs on.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn now(&self) -> ZonedDateTime {
        self.machine.now()
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        self.now().timestamp()
    }

    /// Reads the configuration, anew each time: people edit it while the page is open.
    pub(crate) fn config(&self) -> Result<Config, Fault> {
        let config = Config::read(&self.config_file, &self.machine.places);
        Ok(config.map_err(engine::Error::from)?)
    }

    /// Whether this is the first visit: there is no configuration.
    pub(crate) fn is_new(&self) -> bool {
        self.config_file.symlink_metadata().is_err()
    }

    /// What a scheduler is to do for this configuration.
    pub(crate) fn scheduled_job(&self, config: &Config) -> timer::Job {
        let mut job = timer::Job::of_config(self.program.clone(), config, EVERY, &self.machine);
        job.tools = self.tools.clone();
        job
    }

    /// Lets the system call us.
    pub(crate) fn install_schedule(&self, config: &Config) -> Result<(), engine::Error> {
        let job = self.scheduled_job(config);
        let planned = timer::plan(&job, None)?;
        timer::install(&job, &planned)?;
        self.forget_installed();
        Ok(())
    }

    /// What is installed now.
    pub(crate) fn installed(&self, config: &Config) -> Vec<Installed> {
        let installed = timer::installed(&self.scheduled_job(config));
        let mut scheduled = self
            .scheduled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *scheduled = Some((Instant::now(), installed.clone()));
        installed
    }

    /// Whether nothing runs on its own, as far as is known: the schedulers are not asked each time.
    pub(crate) fn is_unscheduled(&self, config: &Config) -> bool {
        let scheduled = self
            .scheduled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = scheduled
            .as_ref()
            .filter(|(asked, _)| asked.elapsed() < ASKED_AGAIN)
            .map(|(_, installed)| installed.is_empty());
        drop(scheduled);
        known.unwrap_or_else(|| self.installed(config).is_empty())
    }

    pub(crate) fn forget_installed(&self) {
        let mut scheduled = self
            .scheduled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *scheduled = None;
    }

    /// How things stand, as far as the history knows.
    pub(crate) fn status(&self, config: &Config) -> Result<Status, Fault> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let status = self.with(config, |context| {
            engine::status_again(context, &mut history)
        });
        Ok(status?)
    }

    /// The operations, newest first, without the objects that they left out.
    pub(crate) fn outlines(&self) -> Result<Vec<Arc<Operation>>, Fault> {
        let mut memory = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let history = History::new(&self.machine.places.state);
        Ok(history.outlines(&mut memory)?)
    }

    /// Does something with a configuration and the way to open its layers.
    pub(crate) fn with<T>(&self, config: &Config, work: impl FnOnce(Context<'_>) -> T) -> T {
        let open = |layer: &engine::config::Layer, access| {
            engine::layer::open(layer, access, &self.machine)
        };
        work(Context {
            config,
            machine: &self.machine,
            open: &open,
        })
    }
}
