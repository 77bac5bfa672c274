//! The names that users and groups have on this machine.

use std::collections::HashMap;
use std::sync::Arc;

use nix::unistd::{Group, User};

use crate::{AccountNames, Owner};

/// Looks numbers up, each once. One for each thread, so that none waits for another.
#[derive(Debug, Default)]
pub(super) struct Names {
    users: HashMap<u32, Option<Arc<str>>>,
    groups: HashMap<u32, Option<Arc<str>>>,
    /// The owner asked about last, and most often asked about next.
    last: Option<Owner>,
}

impl Names {
    pub(super) fn owner(&mut self, uid: u32, gid: u32) -> Owner {
        if let Some(last) = &self.last
            && (last.uid, last.gid) == (uid, gid)
        {
            return last.clone();
        }
        let owner = Owner {
            uid,
            gid,
            user: self.user_name(uid),
            group: self.group_name(gid),
        };
        self.last = Some(owner.clone());
        owner
    }
}

impl AccountNames for Names {
    fn user_name(&mut self, uid: u32) -> Option<Arc<str>> {
        let look_up = || Some(User::from_uid(uid.into()).ok()??.name.into());
        self.users.entry(uid).or_insert_with(look_up).clone()
    }

    fn group_name(&mut self, gid: u32) -> Option<Arc<str>> {
        let look_up = || Some(Group::from_gid(gid.into()).ok()??.name.into());
        self.groups.entry(gid).or_insert_with(look_up).clone()
    }
}
