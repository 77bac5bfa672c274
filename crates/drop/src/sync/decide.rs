//! What has to happen to one file, given both sides and what they last agreed upon.
//!
//! | here | there | then |
//! |---|---|---|
//! | the same content | | nothing |
//! | changed | as it was | upload |
//! | as it was | changed | download |
//! | deleted | as it was | delete there |
//! | as it was | deleted | delete here |
//! | deleted | changed | download: an edit counts more than a deletion |
//! | changed | deleted | upload: the same |
//! | changed | changed | a content that the history knows gives way; else both are kept |
//!
//! Without an agreement nothing is ever deleted.

use store::Name;

use super::local::Stat;
use super::state::Base;
use crate::{Version, VersionId};

/// A file of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Here {
    pub(super) hash: Box<str>,
    pub(super) stat: Stat,
    pub(super) settled: bool,
}

/// What has to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Both are the same: remember that.
    Agree,
    /// Both are gone.
    Forget,
    /// Send this one, upon that version.
    Upload(Option<VersionId>),
    DeleteThere(VersionId),
    Download,
    DeleteHere,
    /// Keep both: this one gets another name. Where a file there stands in the place of a folder
    /// here, it is the folder's name that changes.
    KeepBoth(Option<Name>),
}

/// Decides. `known` tells whether the history of the file has a content.
pub(super) fn decide(
    here: Option<&Here>,
    there: Option<&Version>,
    base: Option<&Base>,
    known: &mut dyn FnMut(&str) -> Result<bool, crate::Error>,
) -> Result<Option<Action>, crate::Error> {
    let hash_there = there
        .and_then(Version::content)
        .map(|content| &*content.hash);
    let here_changed = here.map(|here| &*here.hash) != base.map(|base| &*base.hash);
    let there_changed = there.map(|there| &there.id) != base.map(|base| &base.version);
    let action = match (here, there) {
        (None, None) => base.map(|_| Action::Forget),
        (Some(here), Some(there)) if hash_there == Some(&here.hash) => {
            let agreed = base.is_some_and(|base| {
                base.version == there.id && base.stat == here.stat && base.settled == here.settled
            });
            (!agreed).then_some(Action::Agree)
        }
        (Some(_), _) if !there_changed => Some(Action::Upload(there.map(|there| there.id.clone()))),
        (None, Some(there)) if !there_changed => Some(Action::DeleteThere(there.id.clone())),
        // Unchanged here, or deleted here and edited there.
        (_, Some(_)) if !here_changed || here.is_none() => Some(Action::Download),
        (Some(_), None) if !here_changed => Some(Action::DeleteHere),
        // Edited here and deleted there; or new here, and deleted there once.
        (Some(_), None) => Some(Action::Upload(None)),
        (Some(here), Some(_)) => {
            if known(&here.hash)? {
                Some(Action::Download)
            } else {
                Some(Action::KeepBoth(None))
            }
        }
        (None, Some(_)) => Some(Action::Download),
    };
    Ok(action)
}
