//! The drop folder: plain files at hand on every device, with history and share links.
//!
//! ```
//! use std::sync::Arc;
//! use ravelin_drop as drop;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let environment = store::Environment::new(|| std::time::UNIX_EPOCH, |bytes| bytes.fill(7));
//! let store: Arc<dyn store::Store> = Arc::new(store::Memory::new());
//! drop::Folder::create(&*store, &environment)?;
//! let device = drop::Device::new("laptop");
//! let opened = drop::Folder::on(store, &environment, &device, None)?;
//! let mut folder = opened.ok_or("no folder")?;
//!
//! let name = store::Name::new("report.txt")?;
//! let now = "2026-11-25T22:46:24Z".parse()?;
//! let first = folder.put(&name, &b"draft"[..], now, now)?;
//! folder.put(&name, &b"final"[..], now, now)?;
//! let draft = folder.version(&name, &first)?;
//! folder.restore(&draft, now)?;
//! assert_eq!(folder.history(&name)?.len(), 3);
//! # Ok(())
//! # }
//! ```

mod change;
mod configuration;
mod conflict;
mod damage;
mod error;
mod folder;
#[doc(hidden)]
pub mod fuzz;
mod hidden;
mod keeping;
mod link;
mod local_file;
mod request;
mod revisions;
mod rule;
mod sync;
mod token;
mod version;

pub use change::{Change, Outcome, Problem, What};
pub use configuration::{KeptConfiguration, configurations, keep_configuration};
pub use conflict::conflict_name;
pub use damage::{Damage, LostContent, Mended};
pub use error::Error;
pub use folder::{Folder, ThinPlan, Thinned};
pub use keeping::Waiter;
pub use link::{LIFE_MAX, Links, NewLink, Refusal, ShareLink, Shown, viewable};
pub use request::{Asked, Declined, FileRequest, Received, Requests};
pub use rule::Rule;
pub use sync::{Did, Following, Ignore, Selection, Step, Sync, SyncReport, Watch};
pub use version::{BadVersionId, Content, Device, State, Version, VersionId};
