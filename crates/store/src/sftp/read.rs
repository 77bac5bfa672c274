//! Reading a file with many requests under way.
//!
//! The handle stays on the file that was opened, even when another takes its name: what is read is one state.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use super::session::{Pending, Reply, Session};
use super::wire::{Message, kind};
use super::{BLOCK_SIZE, WINDOW, object, refused};
use crate::body::Exact;
use crate::{Bandwidth, Error, ErrorKind, Name, Operation, Range, Reading};

pub(super) fn open(
    session: Arc<Session>,
    path: &str,
    name: &Name,
    range: Range,
    bandwidth: &Arc<Bandwidth>,
) -> Result<Reading, Error> {
    let handle = match session.ask(
        Message::new(kind::OPEN)
            .bytes(path.as_bytes())
            .u32(1)
            .u32(0),
    )? {
        Reply::Handle(handle) => handle,
        // Below a file the server says no more than that it failed.
        Reply::Status(4) => return Err(refused(&Reply::Status(2), Operation::Read, name)),
        reply => return Err(refused(&reply, Operation::Read, name)),
    };
    let mut blocks = Blocks {
        session,
        handle,
        pending: VecDeque::new(),
        block: Vec::new(),
        taken: 0,
        at: range.start,
        end: range.start,
        name: name.clone(),
    };
    let attributes = match blocks
        .session
        .ask(Message::new(kind::FSTAT).bytes(&blocks.handle))?
    {
        Reply::Attributes(attributes) if attributes.is_file() => attributes,
        Reply::Attributes(_) => {
            return Err(Error::new(ErrorKind::NotFound, Operation::Read)
                .on(name)
                .because("it is no file"));
        }
        reply => return Err(refused(&reply, Operation::Read, name)),
    };
    let object = object(name.clone(), &attributes);
    let size = range.size_in(object.size);
    blocks.end = range.start.saturating_add(size);
    let body = Exact::new(bandwidth.down(blocks), size, name);
    Ok(Reading {
        object,
        body: Box::new(body),
    })
}

struct Blocks {
    session: Arc<Session>,
    handle: Vec<u8>,
    /// Requests under way with where they begin and how much they want, in order.
    pending: VecDeque<(Pending, u64, usize)>,
    block: Vec<u8>,
    taken: usize,
    at: u64,
    end: u64,
    name: Name,
}

impl Blocks {
    fn request(&self, at: u64, size: usize) -> Result<Pending, Error> {
        let size = u32::try_from(size).unwrap_or(0);
        self.session.send(
            Message::new(kind::READ)
                .bytes(&self.handle)
                .u64(at)
                .u32(size),
        )
    }

    /// Gets the next block; empty at the end.
    fn next(&mut self) -> Result<(), Error> {
        while self.pending.len() < WINDOW && self.at < self.end {
            let size = BLOCK_SIZE.min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
            let pending = self.request(self.at, size)?;
            self.pending.push_back((pending, self.at, size));
            self.at += size as u64;
        }
        self.taken = 0;
        self.block.clear();
        let Some((pending, at, size)) = self.pending.pop_front() else {
            return Ok(());
        };
        match self.session.reply(&pending)? {
            Reply::Data(block) if block.len() <= size && !block.is_empty() => {
                if block.len() < size {
                    // Servers may give less than was asked for: the rest is asked for again.
                    let (rest_at, rest) = (at + block.len() as u64, size - block.len());
                    let pending = self.request(rest_at, rest)?;
                    self.pending.push_front((pending, rest_at, rest));
                }
                self.block = block;
                Ok(())
            }
            // The file became shorter; the reader around this one notices.
            Reply::Status(1) => Ok(()),
            reply => Err(refused(&reply, Operation::Read, &self.name)),
        }
    }
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken >= self.block.len() {
            self.next()?;
        }
        let rest = self.block.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        // The answer is of no interest.
        let _ = self
            .session
            .send(Message::new(kind::CLOSE).bytes(&self.handle));
    }
}
