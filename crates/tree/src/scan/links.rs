//! Which names belong to one object.

use std::collections::HashMap;
use std::sync::Arc;

use super::stat::Stat;
use crate::{Time, TreePath};

/// Objects with several names of which one came, and names are still to come.
///
/// Memory: one path and some 100 bytes for each such object, until all of its names have come.
#[derive(Debug, Default)]
pub(crate) struct Links(HashMap<Object, First>);

/// An object: the time of birth tells it from one that got the same number after it was removed.
type Object = (u64, u64, Time);

#[derive(Debug)]
struct First {
    path: Arc<TreePath>,
    left: u64,
}

impl Links {
    /// The first name of an object whose next name has come; `None` if this is the first.
    pub(crate) fn first_name(&mut self, stat: &Stat) -> Option<Arc<TreePath>> {
        let object = object(stat);
        let first = self.0.get_mut(&object)?;
        first.left -= 1;
        let path = Arc::clone(&first.path);
        if first.left == 0 {
            self.0.remove(&object);
        }
        Some(path)
    }

    /// Notes the first name of an object with so many names. One that could not be read is none to
    /// link to: it is not noted, and the next one is the first then.
    pub(crate) fn note(&mut self, path: TreePath, count: u64, stat: &Stat) {
        if count < 2 {
            return;
        }
        let path = Arc::new(path);
        let left = count - 1;
        self.0.insert(object(stat), First { path, left });
    }
}

fn object(stat: &Stat) -> Object {
    (stat.device, stat.inode, stat.btime)
}
