//! Makes written segments durable while the next ones are being written.
//!
//! One thread does the waiting. It starts the writing-out of what has been written so far, so
//! that little is left to do at the end, and syncs segments that are full. Once anything could
//! not be synced, nothing is durable any more: the system may have dropped what it could not
//! write, and a second try would succeed without the data.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, unbounded};
use rustix::fs::{Advice, fadvise};

use crate::save_file;

enum Job {
    /// Start writing out a range.
    WriteOut {
        file: Arc<File>,
        offset: u64,
        length: u64,
    },
    /// Sync a file, and later the folder that has its name.
    Sync { file: Arc<File>, directory: PathBuf },
    /// Sync the folders, and say how all went since the last time.
    Finish(Sender<io::Result<()>>),
}

/// Hands work to the thread. Dropped, it waits until the thread has done all that was asked.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn new() -> Self {
        let (sender, receiver) = unbounded();
        let thread = std::thread::spawn(move || {
            let mut state = State::default();
            for job in receiver {
                state.work(job);
            }
        });
        Self {
            jobs: Some(sender),
            thread: Some(thread),
        }
    }

    pub(super) fn write_out(&self, file: &Arc<File>, offset: u64, length: u64) {
        self.send(Job::WriteOut {
            file: Arc::clone(file),
            offset,
            length,
        });
    }

    pub(super) fn sync(&self, file: Arc<File>, directory: PathBuf) {
        self.send(Job::Sync { file, directory });
    }

    /// Waits until all that was handed over is durable.
    ///
    /// # Errors
    ///
    /// The first error since the beginning, each time.
    pub(super) fn finish(&self) -> io::Result<()> {
        let (sender, receiver) = unbounded();
        self.send(Job::Finish(sender));
        receiver
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs has ended")))
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // Had the thread ended, `finish` would say so.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct State {
    directories: BTreeSet<PathBuf>,
    error: Option<(io::ErrorKind, String)>,
}

impl State {
    fn work(&mut self, job: Job) {
        match job {
            Job::WriteOut {
                file,
                offset,
                length,
            } => {
                // This advice begins to write out what is not written yet, and waits for nothing.
                // It is only advice: that it fails does not matter.
                let _ = fadvise(&file, offset, NonZero::new(length), Advice::DontNeed);
            }
            Job::Sync { file, directory } => {
                self.note(file.sync_data());
                self.directories.insert(directory);
            }
            Job::Finish(answer) => {
                for directory in std::mem::take(&mut self.directories) {
                    self.note(save_file::sync_directory(&directory));
                }
                let result = match &self.error {
                    None => Ok(()),
                    Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
                };
                let _ = answer.send(result);
            }
        }
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.error.get_or_insert((error.kind(), error.to_string()));
        }
    }
}
