//! Sizes around the limits of blocks, chunks and volumes; holes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::{Tree, done};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// What a rolling hash looks at before it may cut: Borg's window.
const WINDOW: usize = 4095;

impl Tree {
    /// Files of sizes at which a program changes its mind: nothing, a block, the smallest and
    /// the largest chunk, each with one byte less and more; noise, text and zeros. About 35 MB.
    #[must_use]
    pub fn sizes(mut self) -> Self {
        for limit in [
            512,
            4 * KIB,
            64 * KIB,
            512 * KIB,
            512 * KIB + WINDOW,
            MIB,
            8 * MIB,
        ] {
            for size in [limit - 1, limit, limit + 1] {
                // Noise for the small ones, and for one of three of the big ones.
                let content = if size < MIB || size == limit {
                    self.random.noise(size)
                } else {
                    vec![0; size]
                };
                self.add_file(format!("sizes/{size}"), &content);
            }
        }
        for size in [0, 1, 2] {
            let content = self.random.noise(size);
            self.add_file(format!("sizes/{size}"), &content);
        }
        let text = b"the same words again and again. ".repeat(40_000);
        self.add_file("sizes/text", &text);
        let same = self.random.noise(700 * KIB);
        self.add_file("sizes/one of two that are alike", &same);
        self.add_file("sizes/two of two that are alike", &same);
        self.settle()
    }

    /// Files with holes: in front, in the middle, at the end, and nothing but a hole of 1 GiB.
    #[must_use]
    pub fn holes(mut self) -> Self {
        let data = self.random.noise(64 * KIB);
        let mib = MIB as u64;
        for (name, size, at) in [
            ("in front", 4 * mib + 64 * 1024, Some(4 * mib)),
            ("at the end", 3 * mib, Some(0)),
            ("around", 9 * mib, Some(5 * mib)),
            ("odd place", 2 * mib + 5, Some(mib + 3)),
            ("nothing else", 1024 * mib, None),
        ] {
            let full = self.place(format!("holes/{name}"));
            let file = done(&full, File::create(&full));
            done(&full, file.set_len(size));
            if let Some(at) = at {
                done(&full, file.write_all_at(&data, at));
            }
            drop(file);
            self.finish_file(&full);
        }
        self.settle()
    }
}
