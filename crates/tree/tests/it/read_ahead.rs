//! What content comes, and what happens when files change while they are read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use testkit::Tree;
use tree::{Body, Ending, Entry, Options, Source, Step, Time, TreePath, read_ahead};

use crate::scan::source;

/// Smaller holes are kept as zeros, so that the content can be compared.
const HOLE_KEPT_MAX: u64 = 64 << 20;

/// How the content of a file came.
#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    holes: u64,
    changed: bool,
}

/// The content of every file, by path.
fn contents(source: &Source, options: Options) -> BTreeMap<TreePath, Content> {
    let mut contents = BTreeMap::new();
    let mut current: Option<(TreePath, Content)> = None;
    let mut problems = Vec::new();
    read_ahead(
        source,
        options,
        |_| true,
        |step| {
            match step {
                Step::Entry { entry, body } => {
                    assert!(current.is_none(), "a file ends before the next begins");
                    match body {
                        Body::None => {}
                        Body::Whole(block) => {
                            let content = Content {
                                bytes: block.to_vec(),
                                ..Content::default()
                            };
                            contents.insert(entry.path.clone(), content);
                        }
                        Body::Blocks => current = Some((entry.path.clone(), Content::default())),
                    }
                }
                Step::Data(block) => current.as_mut().unwrap().1.bytes.extend_from_slice(&block),
                Step::Hole(length) => {
                    let content = &mut current.as_mut().unwrap().1;
                    content.holes += length;
                    if length < HOLE_KEPT_MAX {
                        let length = usize::try_from(length).unwrap();
                        content.bytes.resize(content.bytes.len() + length, 0);
                    }
                }
                Step::End(ending) => {
                    let (path, mut content) = current.take().unwrap();
                    match ending {
                        Ending::Complete => {}
                        Ending::Changed(_) => content.changed = true,
                        Ending::Failed(problem) => panic!("{problem:?}"),
                    }
                    contents.insert(path, content);
                }
                Step::Problem(problem) => problems.push(problem),
            }
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    contents
}

#[test]
fn the_content_of_every_file_comes_whole() {
    let tree = Tree::every_kind(11);
    let all = contents(&source(&[tree.path()]), Options::default());
    assert!(all.len() > 20);
    for (path, content) in all {
        let local = Path::new("/").join(path.as_path());
        if content.holes >= HOLE_KEPT_MAX {
            assert!(content.bytes.is_empty(), "{path} is nothing but hole");
            assert_eq!(content.holes, fs::metadata(local).unwrap().len());
        } else {
            assert!(content.bytes == fs::read(local).unwrap(), "{path}");
        }
        assert!(!content.changed);
    }
}

#[test]
fn one_reader_and_many_read_the_same() {
    let tree = Tree::every_kind(12);
    let read = |readers| {
        let options = Options {
            readers,
            ..Options::default()
        };
        contents(&source(&[tree.path()]), options)
            .into_iter()
            .map(|(path, content)| (path, content.bytes))
            .collect::<Vec<_>>()
    };
    assert!(read(1) == read(7));
}

/// Without attributes files are opened only for their content; what is said of them is the same.
#[test]
fn attributes_that_nobody_takes_in_are_not_read() {
    let tree = Tree::every_kind(18).file("noted", b"x");
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(tree.path().join("noted"), "user.note", b"y", flags).unwrap();
    let all = Options::default();
    let lean = Options {
        attributes: false,
        ..all
    };
    let source = source(&[tree.path()]);
    let described = |options, is_wanted: bool| {
        let mut entries = Vec::new();
        let sink = |step| {
            if let Step::Entry { entry, .. } = step {
                // That a link was read shows in its access time.
                let atime = Time::default();
                entries.push(Entry {
                    atime,
                    ..Entry::clone(&entry)
                });
            }
            ControlFlow::Continue(())
        };
        read_ahead(&source, options, |_| is_wanted, sink).unwrap();
        entries
    };
    for is_wanted in [false, true] {
        let mut full = described(all, is_wanted);
        assert!(full.iter().any(|entry| !entry.xattrs.is_empty()));
        for entry in &mut full {
            entry.xattrs.clear();
            entry.acl_access = None;
            entry.acl_default = None;
        }
        assert!(described(lean, is_wanted) == full);
    }
    let read = |options| {
        contents(&source, options)
            .into_iter()
            .map(|(path, content)| (path, content.bytes))
            .collect::<Vec<_>>()
    };
    assert!(read(all) == read(lean));
}

/// What was put in the place of a file after it was seen is what its entry tells.
#[test]
fn a_file_that_is_replaced_before_it_is_opened_is_described_anew() {
    let tree = Tree::new(19).file("file", b"before");
    let lean = Options {
        attributes: false,
        ..Options::default()
    };
    let path = tree.path().join("file");
    let mut seen = Vec::new();
    read_ahead(
        &source(&[tree.path()]),
        lean,
        |entry| {
            assert_eq!(entry.size, 6);
            let new = path.with_extension("new");
            fs::write(&new, "what came after").unwrap();
            fs::rename(&new, &path).unwrap();
            true
        },
        |step| {
            if let Step::Entry { entry, body } = step
                && let Body::Whole(block) = body
            {
                seen.push((entry.size, block.to_vec()));
            }
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert_eq!(seen, [(15, b"what came after".to_vec())]);
}

#[test]
fn a_terabyte_of_hole_takes_no_time() {
    let tree = Tree::new(13);
    let file = File::create(tree.path().join("sparse")).unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_at(b"data", 1 << 39).unwrap();
    let began = Instant::now();
    let all = contents(&source(&[tree.path()]), Options::default());
    assert!(began.elapsed() < Duration::from_secs(5));
    let content = all.values().next().unwrap();
    assert!(content.holes > (1 << 40) - (1 << 20));
    assert!(content.bytes.windows(4).any(|bytes| bytes == b"data"));
}

#[test]
fn blocks_that_are_held_stop_the_reading_at_the_budget() {
    let tree = Tree::new(14).file("large", vec![7; 40 << 20]);
    let options = Options {
        memory: 8 << 20,
        ..Options::default()
    };
    let (hold, held) = std::sync::mpsc::channel();
    let source = source(&[tree.path()]);
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            read_ahead(
                &source,
                options,
                |_| true,
                |step| {
                    if let Step::Data(block) = step {
                        hold.send(block).unwrap();
                    }
                    ControlFlow::Continue(())
                },
            )
        });
        let mut blocks = Vec::new();
        while let Ok(block) = held.recv_timeout(Duration::from_millis(500)) {
            blocks.push(block);
        }
        let bytes: usize = blocks.iter().map(|block| block.len()).sum();
        assert_eq!(bytes, 8 << 20, "no more is read than the budget allows");
        drop(blocks);
        let rest: usize = held.iter().map(|block| block.len()).sum();
        assert_eq!(rest, 32 << 20);
        reading.join().unwrap().unwrap();
    });
}

#[test]
fn the_reading_ends_when_the_sink_breaks() {
    let tree = Tree::every_kind(15);
    let mut steps = 0;
    read_ahead(
        &source(&[tree.path()]),
        Options::default(),
        |_| true,
        |_| {
            steps += 1;
            match steps {
                10 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        },
    )
    .unwrap();
    assert_eq!(steps, 10);
}

/// Reads a folder again and again while `mutate` changes it, for half a second.
fn while_changing(tree: &Tree, mutate: impl Fn() + Sync, mut check: impl FnMut(Step)) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                mutate();
            }
        });
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(500) {
            let source = source(&[tree.path()]);
            read_ahead(
                &source,
                Options::default(),
                |_| true,
                |step| {
                    check(step);
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_file_that_becomes_a_link_or_a_pipe_is_never_followed_and_never_hangs() {
    let tree = Tree::new(16).file("file", "inside");
    let outside = Tree::new(17).file("secret", "outside");
    let path = tree.path().join("file");
    let secret = outside.path().join("secret");
    let mutate = || {
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(&secret, &path).unwrap();
        let _ = fs::remove_file(&path);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        let _ = fs::remove_file(&path);
        fs::write(&path, "inside").unwrap();
    };
    while_changing(&tree, mutate, |step| match step {
        Step::Data(block)
        | Step::Entry {
            body: Body::Whole(block),
            ..
        } => {
            assert_ne!(&*block, b"outside");
        }
        _ => {}
    });
}

#[test]
fn a_file_that_changes_is_whole_or_said_to_have_changed() {
    let tree = Tree::new(18).file("file", [b'a'; 100_000]);
    let path = tree.path().join("file");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let round = std::sync::atomic::AtomicU8::new(0);
    let mutate = || {
        let letter = b'a' + round.fetch_add(1, Ordering::Relaxed) % 26;
        file.write_all_at(&[letter; 100_000], 0).unwrap();
        file.set_len(50_000).unwrap();
    };
    let mut size = 0;
    while_changing(&tree, mutate, |step| match step {
        Step::Entry { entry, body } if entry.is_file() => {
            size = entry.size;
            if let Body::Whole(block) = body {
                assert_eq!(block.len() as u64, size);
            }
        }
        Step::Data(block) => assert!(block.len() as u64 <= size),
        _ => {}
    });
}

/// Who takes content in may hold back less than the memory for it, counted in bytes of content: so
/// a piece must not take more of the memory than it has.
#[test]
fn small_pieces_of_content_take_little_of_the_memory() {
    let tree = Tree::new(71);
    let file = File::create(tree.path().join("image")).unwrap();
    let pieces = 100;
    for piece in 0..pieces {
        file.write_all_at(&[7; 4096], piece << 20).unwrap();
    }
    let source = source(&[tree.path()]);
    let (sender, done) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut held = Vec::new();
        let mut bytes = 0;
        read_ahead(
            &source,
            Options::default(),
            |_| true,
            |step| {
                if let Step::Data(block) = step {
                    bytes += block.len();
                    held.push(block);
                }
                ControlFlow::Continue(())
            },
        )
        .unwrap();
        sender.send(bytes).unwrap();
    });
    let bytes = done.recv_timeout(Duration::from_secs(60));
    assert_eq!(
        bytes,
        Ok(100 * 4096),
        "it waits for memory that nobody gives back"
    );
}
