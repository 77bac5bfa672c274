//! The steps of one batch on their way into the line.

use std::sync::Arc;

use super::content::{BLOCK_SIZE, Stopped};
use super::line::{Line, Number};
use super::memory::{Memory, Share};
use crate::{Body, Entry, Problem, Step};

/// Gathers the steps of one batch, so that the line is not bothered for each of them.
pub(super) struct Output<'a> {
    line: &'a Line,
    memory: &'a Arc<Memory>,
    number: Number,
    steps: &'a mut Vec<Step>,
    /// Bytes of content among the steps.
    bytes: usize,
}

impl<'a> Output<'a> {
    /// `steps` is empty; its memory is used again for each batch.
    pub(super) fn new(
        line: &'a Line,
        memory: &'a Arc<Memory>,
        number: Number,
        steps: &'a mut Vec<Step>,
    ) -> Self {
        Self {
            line,
            memory,
            number,
            steps,
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, step: Step) {
        if let Step::Data(block)
        | Step::Entry {
            body: Body::Whole(block),
            ..
        } = &step
        {
            self.bytes += block.len();
        }
        self.steps.push(step);
        if self.bytes >= BLOCK_SIZE {
            self.flush();
        }
    }

    pub(super) fn entry(&mut self, entry: Entry, body: Body, problem: Option<Problem>) {
        let entry = Arc::new(entry);
        self.push(Step::Entry { entry, body });
        self.problems(problem);
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        self.push(Step::Problem(Arc::new(problem)));
    }

    pub(super) fn problems(&mut self, problem: Option<Problem>) {
        if let Some(problem) = problem {
            self.problem(problem);
        }
    }

    /// Puts what has been gathered into the line.
    pub(super) fn flush(&mut self) {
        self.line.append(self.number, self.steps);
        self.bytes = 0;
    }

    /// Takes memory for content. Waits for it only after what has been gathered is in the line: it
    /// may be just that for which others have to make room.
    pub(super) fn take(&mut self, bytes: usize) -> Result<Share, Stopped> {
        let turn = self.line.turn(self.number).ok_or(Stopped)?;
        if let Some(share) = self.memory.try_take(bytes, turn) {
            return Ok(share);
        }
        self.flush();
        self.memory
            .take(bytes, || self.line.turn(self.number))
            .ok_or(Stopped)
    }

    /// A buffer for so many bytes.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        self.memory.buffer(bytes)
    }

    /// Waits for the permission to deal with objects that have several names.
    pub(super) fn wait_for_links(&mut self) -> Result<(), Stopped> {
        self.flush();
        if self.line.wait_for_links(self.number) {
            Ok(())
        } else {
            Err(Stopped)
        }
    }
}
