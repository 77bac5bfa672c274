//! A store whose n-th call fails, for tests: what was committed must still be readable.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{
    Capabilities, Content, Error, ErrorKind, Folder, Name, Object, Operation, Range, Reading,
    Scope, Space, Store, WriteMode,
};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before(ErrorKind),
    /// It is done, and the answer is lost.
    After(ErrorKind),
    /// The body of a read breaks off after so many bytes; other calls fail before anything is
    /// done.
    Cut(u64),
}

/// A [`Store`] around another, whose calls fail by number.
pub struct Faulty<S> {
    inner: S,
    faults: BTreeMap<u64, Fault>,
    /// From this call on, every one fails.
    dead_from: Option<u64>,
    calls: AtomicU64,
}

impl<S: Store> Faulty<S> {
    /// The calls with these numbers, counted from 1, fail so.
    pub fn new(inner: S, faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self {
            inner,
            faults: faults.into_iter().collect(),
            dead_from: None,
            calls: AtomicU64::new(0),
        }
    }

    /// Every call from number `call` on fails before anything is done: as if the store, or this
    /// program, had died.
    pub fn dying_at(inner: S, call: u64) -> Self {
        Self {
            dead_from: Some(call),
            ..Self::new(inner, [])
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn call<T>(
        &self,
        operation: Operation,
        object: &dyn std::fmt::Display,
        act: impl FnOnce() -> Result<T, Error>,
    ) -> Result<(T, Option<u64>), Error> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let error = |kind| {
            Err(Error::new(kind, operation)
                .on(object)
                .because("injected fault"))
        };
        if self.dead_from.is_some_and(|from| number >= from) {
            return error(ErrorKind::Unavailable);
        }
        match self.faults.get(&number) {
            Some(&Fault::Before(kind)) => error(kind),
            Some(&Fault::After(kind)) => {
                act()?;
                error(kind)
            }
            Some(&Fault::Cut(after)) if operation == Operation::Read => Ok((act()?, Some(after))),
            Some(Fault::Cut(_)) => error(ErrorKind::Unavailable),
            None => Ok((act()?, None)),
        }
    }
}

impl<S: Store> Store for Faulty<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.call(Operation::List, folder, || {
            self.inner.list(folder, scope, each)
        })
        .map(|(done, _)| done)
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.call(Operation::Stat, name, || self.inner.stat(name))
            .map(|(object, _)| object)
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let (mut reading, cut) =
            self.call(Operation::Read, name, || self.inner.read(name, range))?;
        if let Some(left) = cut {
            reading.body = Box::new(Cut {
                inner: reading.body,
                left,
                name: name.clone(),
            });
        }
        Ok(reading)
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        self.call(Operation::Write, name, || {
            self.inner.write(name, content, mode)
        })
        .map(|(object, _)| object)
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        self.call(Operation::Delete, name, || self.inner.delete(name))
            .map(|(done, _)| done)
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.call(Operation::Rename, from, || self.inner.rename(from, to))
            .map(|(done, _)| done)
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.call(Operation::Copy, from, || self.inner.copy(from, to))
            .map(|(done, _)| done)
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        self.call(Operation::Space, &"", || self.inner.space())
            .map(|(space, _)| space)
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        self.call(Operation::Delete, &"", || self.inner.tidy(age))
            .map(|(removed, _)| removed)
    }
}

/// A body that breaks off.
struct Cut {
    inner: Box<dyn Read + Send>,
    left: u64,
    name: Name,
}

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Err(Error::new(ErrorKind::Unavailable, Operation::Read)
                .on(&self.name)
                .because("injected cut")
                .into());
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        self.left -= count as u64;
        Ok(count)
    }
}
