//! A store that writes down what was asked of it, for tests that assert how many calls an
//! operation may cost.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::{
    Capabilities, Content, Error, Folder, Name, Object, Operation, Range, Reading, Scope, Space,
    Store, WriteMode,
};

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub operation: Operation,
    /// Of which object or folder.
    pub object: String,
    /// Bytes of content, sent or received.
    pub bytes: u64,
    /// Whether it succeeded. A read counts as succeeded when it began.
    pub succeeded: bool,
}

/// A [`Store`] around another that keeps a list of the calls.
pub struct Record<S> {
    inner: S,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl<S: Store> Record<S> {
    /// Begins with an empty list.
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            calls: Arc::default(),
        }
    }

    /// The calls so far, in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many calls of a kind there were.
    pub fn count(&self, operation: Operation) -> usize {
        self.calls()
            .iter()
            .filter(|call| call.operation == operation)
            .count()
    }

    fn note<T>(
        &self,
        operation: Operation,
        object: &dyn std::fmt::Display,
        bytes: u64,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        let call = Call {
            operation,
            object: object.to_string(),
            bytes,
            succeeded: result.is_ok(),
        };
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
        result
    }
}

impl<S: Store> Store for Record<S> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let listed = self.inner.list(folder, scope, each);
        self.note(Operation::List, folder, 0, listed)
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.note(Operation::Stat, name, 0, self.inner.stat(name))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let reading = self.note(Operation::Read, name, 0, self.inner.read(name, range))?;
        let index = self.calls().len() - 1;
        let body = Counting {
            inner: reading.body,
            calls: Arc::clone(&self.calls),
            index,
        };
        Ok(Reading {
            object: reading.object,
            body: Box::new(body),
        })
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        self.note(
            Operation::Write,
            name,
            content.size(),
            self.inner.write(name, content, mode),
        )
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        self.note(Operation::Delete, name, 0, self.inner.delete(name))
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.note(Operation::Rename, from, 0, self.inner.rename(from, to))
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.note(Operation::Copy, from, 0, self.inner.copy(from, to))
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        self.note(Operation::Space, &"", 0, self.inner.space())
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        self.note(Operation::Delete, &"", 0, self.inner.tidy(age))
    }
}

struct Counting {
    inner: Box<dyn Read + Send>,
    calls: Arc<Mutex<Vec<Call>>>,
    index: usize,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = calls.get_mut(self.index) {
            call.bytes += count as u64;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    #[test]
    fn calls_and_bytes_are_written_down() {
        let store = Record::new(Memory::new());
        let name = Name::new("x").unwrap();
        store.write(&name, b"12345", WriteMode::Create).unwrap();
        store.write(&name, b"12345", WriteMode::Create).unwrap_err();
        let mut body = store.read(&name, Range::new(1, 3)).unwrap().body;
        body.read_to_end(&mut Vec::new()).unwrap();
        let calls = store.calls();
        assert_eq!(
            calls.iter().map(|call| call.bytes).collect::<Vec<_>>(),
            [5, 5, 3]
        );
        assert_eq!(store.count(Operation::Write), 2);
        assert!(!calls[1].succeeded);
    }
}
