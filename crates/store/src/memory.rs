//! A store in memory, for tests: strict, and forgotten at the end.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Capabilities, Content, Error, ErrorKind, Folder, Name, Object, Operation, Range, Reading,
    Scope, Space, Store, WriteMode,
};

/// Objects in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Name, Kept>,
    writes: u64,
    size_max: Option<u64>,
}

#[derive(Debug, Clone)]
struct Kept {
    bytes: Arc<[u8]>,
    version: u64,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store that is full when its objects have `size_max` bytes in all.
    #[must_use]
    pub fn with_size_max(size_max: u64) -> Self {
        let memory = Self::new();
        memory.state().size_max = Some(size_max);
        memory
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, name: &Name, operation: Operation) -> Result<Kept, Error> {
        let found = self.state().objects.get(name).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, operation).on(name))
    }
}

impl State {
    fn used(&self) -> u64 {
        self.objects
            .values()
            .map(|kept| kept.bytes.len() as u64)
            .sum()
    }
}

impl Kept {
    fn object(&self, name: &Name) -> Object {
        Object {
            name: name.clone(),
            size: self.bytes.len() as u64,
            modified: None,
            version: Some(self.version.to_string()),
            digest: None,
        }
    }
}

impl Store for Memory {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create: true,
            rename: true,
            copy: true,
            ..Capabilities::default()
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        // One step at a time without holding the lock, so that `each` may use the store.
        let mut after: Option<Name> = None;
        loop {
            let next = {
                let state = self.state();
                let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
                state
                    .objects
                    .range::<Name, _>((start, Bound::Unbounded))
                    .find(|(name, _)| folder.holds(name, scope == Scope::Tree))
                    .map(|(name, kept)| kept.object(name))
            };
            let Some(object) = next else { return Ok(()) };
            after = Some(object.name.clone());
            if each(object).is_break() {
                return Ok(());
            }
        }
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        Ok(self.kept(name, Operation::Stat)?.object(name))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let kept = self.kept(name, Operation::Read)?;
        let object = kept.object(name);
        let mut body = Cursor::new(kept.bytes);
        body.set_position(range.start.min(object.size));
        let size = range.size_in(object.size);
        Ok(Reading {
            object,
            body: Box::new(body.take(size)),
        })
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        let fail = |error: io::Error| Error::from_io(error, Operation::Write, name);
        let mut bytes = Vec::new();
        content
            .open(0)
            .map_err(fail)?
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        if bytes.len() as u64 != content.size() {
            return Err(fail(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut state = self.state();
        let old = state.objects.get(name).map(|kept| kept.bytes.len() as u64);
        if mode == WriteMode::Create && old.is_some() {
            return Err(Error::new(ErrorKind::AlreadyExists, Operation::Write).on(name));
        }
        let used = state.used() - old.unwrap_or(0) + content.size();
        if state.size_max.is_some_and(|max| used > max) {
            return Err(Error::new(ErrorKind::Full, Operation::Write).on(name));
        }
        state.writes += 1;
        let kept = Kept {
            bytes: bytes.into(),
            version: state.writes,
        };
        let object = kept.object(name);
        state.objects.insert(name.clone(), kept);
        Ok(object)
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        self.state().objects.remove(name);
        Ok(())
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let mut state = self.state();
        if state.objects.contains_key(to) {
            return Err(Error::new(ErrorKind::AlreadyExists, Operation::Rename).on(to));
        }
        let Some(kept) = state.objects.remove(from) else {
            return Err(Error::new(ErrorKind::NotFound, Operation::Rename).on(from));
        };
        state.objects.insert(to.clone(), kept);
        Ok(())
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let source = self.kept(from, Operation::Copy)?;
        self.write(to, &source.bytes.to_vec(), WriteMode::Replace)
            .map(drop)
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let state = self.state();
        Ok(state.size_max.map(|max| Space {
            free: max.saturating_sub(state.used()),
            total: Some(max),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_says_so_and_keeps_what_it_has() {
        let store = Memory::with_size_max(10);
        let name = Name::new("a").unwrap();
        store.write(&name, b"12345678", WriteMode::Replace).unwrap();
        let error = store
            .write(&name, b"12345678901", WriteMode::Replace)
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::Full);
        assert_eq!(crate::read_all(&store, &name, 100).unwrap(), b"12345678");
        assert_eq!(
            store.space().unwrap(),
            Some(Space {
                free: 2,
                total: Some(10)
            })
        );
    }
}
