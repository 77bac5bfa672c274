//! The machine that the engine works on, as far as it has to know it.

use std::ffi::OsString;
use std::sync::Arc;

use jiff::ZonedDateTime;

use crate::layer::{self, Access, Layer};
use crate::secret::Keeper;
use crate::{Clock, Config, Places, Random, config};

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
    /// Gives random bytes.
    pub random: Random,
}

impl Machine {
    /// What time it is.
    #[must_use]
    pub fn now(&self) -> ZonedDateTime {
        (self.clock)()
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
