//! The seam between the drop folder and the two ways to keep history: our own hidden folder, and
//! a service's revisions.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use store::{Content, DigestKind, Dropbox, Name, Reading, Store};

use crate::hidden::repair::OnStep;
use crate::{
    Change, Damage, Error, Mended, Outcome, Problem, Rule, ThinPlan, Thinned, Version, VersionId,
};

/// A way to keep files with their history.
pub(crate) trait Keeping: Send + Sync {
    /// Which folder this is, wherever it is reached from.
    fn id(&self) -> &str;

    /// How contents are told apart.
    fn digest_kind(&self) -> DigestKind;

    /// Whether names that differ only in capitals or composition are one name.
    fn folds_case(&self) -> bool;

    /// Learns what other devices have changed.
    fn refresh(&mut self, now: Timestamp) -> Result<(), Error>;

    /// Takes in what was changed at the store by hand. Gives the files in question.
    fn adopt(
        &mut self,
        now: Timestamp,
        ignored: &dyn Fn(&Name) -> bool,
    ) -> Result<Vec<Name>, Error>;

    /// The present files, as last [refreshed](Self::refresh).
    fn present(&self) -> Vec<Version>;

    /// The present version of one file.
    fn live(&self, path: &Name) -> Option<Version>;

    /// Whether a version that was made turned out to have lost a race.
    fn is_lost(&self, path: &Name, id: &VersionId) -> bool;

    /// Whether the file ever had this content.
    fn ever(&mut self, path: &Name, hash: &str) -> Result<bool, Error>;

    /// Makes changes. Those that are done when it fails are done for good.
    fn commit(&mut self, changes: &[Change<'_>], now: Timestamp) -> Result<Vec<Outcome>, Error>;

    /// The bytes of a version. Not yet compared with its checksum.
    fn read(&mut self, version: &Version) -> Result<Reading, Error>;

    /// All versions of a file, oldest first.
    fn history(&mut self, path: &Name) -> Result<Vec<Version>, Error>;

    /// The deletion of each file that is deleted.
    fn deleted(&mut self) -> Result<Vec<Version>, Error>;

    /// The files as they were.
    fn as_of(&mut self, time: Timestamp) -> Result<Vec<Version>, Error>;

    /// When something changed, in no order; a moment may come several times.
    fn moments(&mut self) -> Result<Vec<Timestamp>, Error>;

    /// Makes an old content the present one, as a new version.
    fn restore(&mut self, version: &Version, now: Timestamp) -> Result<Outcome, Error>;

    /// What would be thinned out.
    fn thin_plan(&mut self, rule: &Rule, now: Timestamp) -> Result<ThinPlan, Error>;

    /// Thins out.
    fn thin(&mut self, plan: &ThinPlan, now: Timestamp) -> Result<Thinned, Error>;

    /// Reads every kept copy back; gives what is wrong.
    fn verify(&mut self) -> Result<Vec<Problem>, Error>;

    /// Looks for damage, with `data` in every byte.
    fn examine(&mut self, data: bool, on_step: OnStep<'_>) -> Result<Damage, Error>;

    /// Puts the lost copies of a content back. Who calls has compared the checksum.
    fn put_back(&mut self, hash: &str, content: &dyn Content) -> Result<(), Error>;

    /// Mends what was found, but for the contents that were put back.
    fn mend(
        &mut self,
        damage: &Damage,
        put_back: &BTreeSet<Box<str>>,
        now: Timestamp,
    ) -> Result<Mended, Error>;

    /// What went wrong with single files since the last call.
    fn take_problems(&mut self) -> Vec<Problem>;

    /// Writes down what spares work the next time.
    fn save(&mut self) -> Result<(), Error>;

    /// Where the bytes are.
    fn store(&self) -> &Arc<dyn Store>;

    /// The Dropbox, if it keeps the history.
    fn dropbox(&self) -> Option<&Dropbox> {
        None
    }

    /// What waits until the service tells of a change; `None` where the service cannot tell.
    fn waiter(&self) -> Option<Waiter> {
        None
    }
}

/// Waits until something was changed at the store, at most about so long; whether it was.
pub type Waiter = Box<dyn FnOnce(Duration) -> Result<bool, Error> + Send>;
