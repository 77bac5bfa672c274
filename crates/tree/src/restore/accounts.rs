//! The numbers that users and groups have on this machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::{Group, User};

use super::options::{Fidelity, Owners, RestoreOptions};
use crate::acl::AccountNumbers;
use crate::entry::Owner;

/// Looks names up once each.
#[derive(Debug)]
pub(super) struct Accounts {
    owners: Option<Owners>,
    users: Mutex<HashMap<Arc<str>, Option<u32>>>,
    groups: Mutex<HashMap<Arc<str>, Option<u32>>>,
}

/// Whom an object shall belong to; `None` leaves it to whoever restores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WantedOwner {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

impl Accounts {
    pub(super) fn new(options: &RestoreOptions) -> Self {
        Self {
            owners: (options.fidelity != Fidelity::Harmless).then_some(options.owners),
            users: Mutex::default(),
            groups: Mutex::default(),
        }
    }

    /// Whom an object shall belong to on this machine.
    pub(super) fn wanted(&self, owner: &Owner) -> WantedOwner {
        let Some(owners) = self.owners else {
            return WantedOwner {
                uid: None,
                gid: None,
            };
        };
        let (mut user, mut group) = (None, None);
        if owners == Owners::ByName {
            user = owner.user.as_ref().and_then(|name| self.user(name));
            group = owner.group.as_ref().and_then(|name| self.group(name));
        }
        WantedOwner {
            uid: Some(user.unwrap_or(owner.uid)),
            gid: Some(group.unwrap_or(owner.gid)),
        }
    }

    fn user(&self, name: &str) -> Option<u32> {
        look_up(&self.users, name, |name| {
            let user = User::from_name(name).ok().flatten();
            user.map(|user| user.uid.as_raw())
        })
    }

    fn group(&self, name: &str) -> Option<u32> {
        look_up(&self.groups, name, |name| {
            let group = Group::from_name(name).ok().flatten();
            group.map(|group| group.gid.as_raw())
        })
    }
}

/// For the names in ACLs.
impl AccountNumbers for &Accounts {
    fn user_number(&mut self, name: &str) -> Option<u32> {
        (self.owners == Some(Owners::ByName))
            .then(|| self.user(name))
            .flatten()
    }

    fn group_number(&mut self, name: &str) -> Option<u32> {
        (self.owners == Some(Owners::ByName))
            .then(|| self.group(name))
            .flatten()
    }
}

fn look_up(
    known: &Mutex<HashMap<Arc<str>, Option<u32>>>,
    name: &str,
    ask: impl FnOnce(&str) -> Option<u32>,
) -> Option<u32> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&number) = known.get(name) {
        return number;
    }
    let number = ask(name);
    known.insert(name.into(), number);
    number
}
