//! The machine that the engine works on, as far as it has to know it.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::ZonedDateTime;

use crate::layer::{self, Access, Layer};
use crate::secret::Keeper;
use crate::{Clock, Config, Places, Random, Stop, Surroundings, config};

/// What the edge tells the engine about the machine. The engine itself looks nothing up.
pub struct Machine {
    /// The program's folders.
    pub places: Places,
    /// The machine's name, without its domain. Snapshots are named after it.
    pub host: String,
    /// Who runs the program.
    pub user: String,
    /// Looks up an environment variable.
    pub variable: Arc<Variable>,
    /// Tells the time.
    pub clock: Clock,
    /// Looks at power and network.
    pub surroundings: Surroundings,
    /// Gives random bytes.
    pub random: Random,
    /// Asked for when the program is to end: stores wait for nothing then.
    pub stop: Arc<Stop>,
}

impl Machine {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> ZonedDateTime {
        (self.clock)()
    }

    /// What a store needs to know of this machine.
    ///
    /// New sign-ins go to the desktop's keyring if there is one. Variables that begin with
    /// `RAVELIN_ENDPOINT_` say where services are, for private clouds and for tests.
    #[must_use]
    pub fn store_environment(&self) -> store::Environment {
        let (clock, random, variable) = (
            Arc::clone(&self.clock),
            self.random,
            Arc::clone(&self.variable),
        );
        let text = move |name: &str| variable(name)?.into_string().ok();
        let mut environment = store::Environment::new(
            // Every time on the calendar is one of the system's, so there is no other case.
            move || SystemTime::try_from(clock().timestamp()).unwrap_or(SystemTime::UNIX_EPOCH),
            // A system that has none at the moment will have some: predictable ones are worse
            // than waiting.
            move |bytes| {
                while random(bytes).is_err() {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            },
        );
        environment.endpoints = store::Endpoints::from_variables(&text);
        environment.variable = Arc::new(text);
        environment.home = Some(self.places.home.clone());
        environment.state = Some(self.places.state.clone());
        environment.keep = store::Keep::InKeyringElseFile;
        let stop = Arc::clone(&self.stop);
        environment.stopping = Arc::new(move || stop.is_requested());
        environment
    }

    /// The same machine with empty caches and no memory of any layer, below `folder`, as a new one
    /// would have them. Keys, sign-ins and the configuration are where they are.
    #[must_use]
    pub fn without_caches(&self, folder: &Path) -> Self {
        let below = |name: &str| folder.join(name);
        let moved = [
            ("BORG_CACHE_DIR", below("borg-cache")),
            ("BORG_SECURITY_DIR", below("borg-security")),
            ("XDG_CACHE_HOME", below("cache")),
        ];
        let variable = Arc::clone(&self.variable);
        let variables = Arc::new(move |name: &str| {
            let moved = moved.iter().find(|(known, _)| *known == name);
            match moved {
                Some((_, path)) => Some(path.clone().into_os_string()),
                None => variable(name),
            }
        });
        let mut machine = self.with_variables(variables);
        machine.places.cache = below("cache");
        machine
    }

    /// The same machine with other environment variables.
    #[must_use]
    pub fn with_variables(&self, variable: Arc<Variable>) -> Self {
        Self {
            places: self.places.clone(),
            host: self.host.clone(),
            user: self.user.clone(),
            variable,
            clock: Arc::clone(&self.clock),
            surroundings: self.surroundings,
            random: self.random,
            stop: Arc::clone(&self.stop),
        }
    }

    /// The one who fetches secrets on this machine.
    #[must_use]
    pub fn keeper(&self) -> Keeper<'_> {
        Keeper {
            variable: &*self.variable,
            credentials: self.places.credentials.as_deref(),
        }
    }
}

/// Looks up an environment variable by its name.
pub type Variable = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// Opens a layer, or creates it.
pub type Open<'a> =
    dyn Fn(&config::Layer, Access) -> Result<Box<dyn Layer>, layer::Error> + Sync + 'a;

/// A configuration on a machine: what every operation works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What is protected, and by which layers.
    pub config: &'a Config,
    /// Where the program runs.
    pub machine: &'a Machine,
    /// How a layer is opened: [`layer::open`], or a double of it in tests.
    pub open: &'a Open<'a>,
}
