//! Changes that somebody made at the store by hand: through a file browser, another program, the
//! service's own page.
//!
//! A plain file that holds none of the versions of its file is a new version. One that holds an
//! older version is behind, because a device was cut off, and is brought up to date: to go back on
//! purpose, restore the version. A plain file that is missing was deleted by hand only if this
//! device has seen it there in its present version and misses it for a while: a store may show a
//! new object late, and another device may be at work.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use store::{Folder as StoreFolder, Name, Object, Scope};

use super::seen::{Sight, tag};
use super::{HIDDEN, Hidden};
use crate::{Change, Device, Error, Outcome, What, conflict_name};

/// So long a plain file must be missing before that counts as a deletion.
const MISSING_FOR: SignedDuration = SignedDuration::from_secs(30);

impl Hidden {
    pub(super) fn adopt_plain(
        &mut self,
        now: Timestamp,
        ignored: &dyn Fn(&Name) -> bool,
    ) -> Result<Vec<Name>, Error> {
        let mut plain: BTreeMap<Name, Object> = BTreeMap::new();
        let hidden = format!("{HIDDEN}/");
        self.store
            .list(&StoreFolder::root(), Scope::Tree, &mut |object| {
                let ours = object.name.as_str().starts_with(&hidden);
                if !ours && !ignored(&object.name) {
                    plain.insert(object.name.clone(), object);
                }
                ControlFlow::Continue(())
            })?;
        let mut adopted = Vec::new();
        for (path, object) in &plain {
            if super::check(path).is_ok() && self.adopt_one(path, object, now)? {
                adopted.push(path.clone());
            }
        }
        let missing: Vec<Name> = self
            .index
            .all_live()
            .map(|record| &record.version.path)
            .filter(|path| !plain.contains_key(*path) && !ignored(path))
            .cloned()
            .collect();
        if !missing.is_empty() {
            self.check_folder()?;
        }
        for path in missing {
            if self.miss(&path, now)? {
                adopted.push(path);
            }
        }
        Ok(adopted)
    }

    /// Whether a plain file was changed by hand; then it is a new version now.
    fn adopt_one(&mut self, path: &Name, object: &Object, now: Timestamp) -> Result<bool, Error> {
        let live = self.index.live(path).map(|record| record.version.clone());
        let sight = self.seen.get(path).cloned();
        if let (Some(live), Some(sight)) = (&live, &sight)
            && sight.tag == tag(object)
        {
            if sight.version != live.id {
                self.mirror(path, None, now)?;
            } else if sight.missing_since.is_some() {
                let sight = Sight {
                    missing_since: None,
                    ..sight.clone()
                };
                self.seen.set(path, sight);
            }
            return Ok(false);
        }
        let Some((spool, hash)) = self.fetch_plain(path)? else {
            return Ok(false);
        };
        if let Some(live) = &live
            && live.content().is_some_and(|content| content.hash == hash)
        {
            let sight = Sight {
                tag: tag(object),
                version: live.id.clone(),
                missing_since: None,
            };
            self.seen.set(path, sight);
            return Ok(false);
        }
        // Behind; unless the file is deleted, and somebody has put it back.
        let put_back = live.is_none() && sight.as_ref().is_none_or(|is| is.tag != tag(object));
        if self.index.ever(path, &hash) && !put_back {
            self.mirror(path, None, now)?;
            return Ok(false);
        }
        let modified = object
            .modified
            .and_then(|time| Timestamp::try_from(time).ok())
            .unwrap_or(now);
        // Made upon a version that is not the present one any more, it goes beside it.
        let upon_old = match (&live, &sight) {
            (Some(live), Some(sight)) => sight.version != live.id,
            _ => false,
        };
        let device = Device::elsewhere();
        let (name, base) = if upon_old {
            (conflict_name(path, &device, now, 1)?, None)
        } else {
            (path.clone(), live.map(|live| live.id))
        };
        let change = Change {
            path: name,
            base,
            what: What::Put {
                content: &spool,
                hash,
                modified,
            },
        };
        let outcomes = self.commit_as(&device, &[change], now)?;
        let done = matches!(outcomes[..], [Outcome::Done(_)]);
        if done && upon_old {
            self.mirror(path, None, now)?;
        }
        Ok(done)
    }

    /// Whether a missing plain file was deleted by hand; then it is deleted now.
    fn miss(&mut self, path: &Name, now: Timestamp) -> Result<bool, Error> {
        let Some(live) = self.index.live(path).map(|record| record.version.clone()) else {
            return Ok(false);
        };
        let Some(sight) = self
            .seen
            .get(path)
            .filter(|sight| sight.version == live.id)
            .cloned()
        else {
            self.mirror(path, None, now)?;
            return Ok(false);
        };
        // A listing may be behind; the object itself is not.
        match self.store.stat(path) {
            Err(error) if error.kind == store::ErrorKind::NotFound => {}
            found => {
                found?;
                return Ok(false);
            }
        }
        let since = sight.missing_since.unwrap_or(now);
        if now.duration_since(since) < MISSING_FOR {
            let sight = Sight {
                missing_since: Some(since),
                ..sight
            };
            self.seen.set(path, sight);
            return Ok(false);
        }
        let change = Change {
            path: path.clone(),
            base: Some(live.id),
            what: What::Delete,
        };
        let outcomes = self.commit_as(&Device::elsewhere(), &[change], now)?;
        Ok(matches!(outcomes[..], [Outcome::Done(_)]))
    }
}
