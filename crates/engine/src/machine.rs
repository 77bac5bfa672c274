//! The machine that the engine works on, as far as it has to know it.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use jiff::ZonedDateTime;

use crate::layer::{self, Access, Layer};
use crate::secret::Keeper;
use crate::{Clock, Config, Places, Random, Surroundings, config};

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
}

impl Machine {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> ZonedDateTime {
        (self.clock)()
    }

    /// The same machine with empty caches and no memory, below `folder`, as a new one would have
    /// them. Keys and the configuration are where they are.
    #[must_use]
    pub fn without_caches(&self, folder: &Path) -> Self {
        let below = |name: &str| folder.join(name);
        let moved = [
            ("BORG_CACHE_DIR", below("borg-cache")),
            ("BORG_SECURITY_DIR", below("borg-security")),
            ("XDG_CACHE_HOME", below("cache")),
        ];
        let variable = Arc::clone(&self.variable);
        Self {
            places: Places {
                cache: below("cache"),
                state: below("state"),
                ..self.places.clone()
            },
            host: self.host.clone(),
            user: self.user.clone(),
            variable: Arc::new(move |name| {
                let moved = moved.iter().find(|(known, _)| *known == name);
                match moved {
                    Some((_, path)) => Some(path.clone().into_os_string()),
                    None => variable(name),
                }
            }),
            clock: Arc::clone(&self.clock),
            surroundings: self.surroundings,
            random: self.random,
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
