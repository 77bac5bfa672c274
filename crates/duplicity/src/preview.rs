//! What a set would hold, found out without reading any content.

use std::sync::Arc;

use tree::{Entry, TreePath};

use crate::archive::Archive;
use crate::backup::Wanted;
use crate::base::Base;
use crate::error::Error;
use crate::manifest::Change;
use crate::member::header_of;
use crate::name::SetKind;
use crate::time::SetTime;

/// Says of each object of a scan what a backup would make of it.
pub struct Preview {
    set: SetKind,
    base: Option<Arc<Base>>,
    next_base: usize,
}

impl Archive {
    /// Begins a preview: nothing is written to the store. A file whose content alone can tell
    /// whether it changed is taken for changed.
    ///
    /// # Errors
    ///
    /// When the store or the signatures that an increment needs cannot be read.
    pub fn preview(&self, wanted: Wanted, now: SetTime) -> Result<Preview, Error> {
        let collection = self.collection(now)?;
        let time = collection.free_time(now);
        let chain = collection
            .active()
            .filter(|chain| wanted == Wanted::Increment && chain.has_signatures());
        let (set, base) = match chain {
            None => (SetKind::Full { time }, None),
            Some(chain) => {
                let set = SetKind::Incremental {
                    start: chain.end(),
                    end: time,
                };
                (set, Some(Arc::new(Base::load(self, &chain.sets)?)))
            }
        };
        Ok(Preview {
            set,
            base,
            next_base: 0,
        })
    }
}

impl Preview {
    /// Which set it would become.
    #[must_use]
    pub fn set(&self) -> SetKind {
        self.set
    }

    /// What becomes of an object; those of a scan come in its order. `None` when it is unchanged or
    /// of a kind that the format cannot hold. `gone` hears of what stood before it and is no more.
    pub fn look(&mut self, entry: &Entry, gone: &mut dyn FnMut(&TreePath)) -> Option<Change> {
        header_of(entry)?;
        self.pass(Some(&entry.path), gone);
        let Some(base) = &self.base else {
            return Some(Change::New);
        };
        match base.find(&entry.path) {
            None => Some(Change::New),
            Some(known) => known.has_changed(entry).then_some(Change::Changed),
        }
    }

    /// Ends the scan: `gone` hears of the rest of what is no more.
    pub fn finish(mut self, gone: &mut dyn FnMut(&TreePath)) {
        self.pass(None, gone);
    }

    fn pass(&mut self, path: Option<&TreePath>, gone: &mut dyn FnMut(&TreePath)) {
        let Some(base) = &self.base else { return };
        while let Some(known) = base.entries.get(self.next_base)
            && path.is_none_or(|path| known.path <= *path)
        {
            self.next_base += 1;
            if path != Some(&known.path) && !known.path.is_root() {
                gone(&known.path);
            }
        }
    }
}
