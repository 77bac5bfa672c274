//! What is not a regular file, and what has more than one name.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::{Tree, done, say_left_out, set_mtime, where_possible};
use crate::skip::is_root;

impl Tree {
    /// Symbolic links of all sorts, and files with several names.
    #[must_use]
    pub fn links(mut self) -> Self {
        self.add_file("links/target", b"what the links lead to");
        self.add_directory("links/folder".as_ref());
        for (name, target) in [
            ("to a file", "target"),
            ("to a directory", "folder"),
            ("to nothing", "nowhere at all"),
            ("to itself", "to itself"),
            ("upwards", "../../../../../../etc/passwd"),
            ("absolute", "/etc/hostname"),
            ("with a newline", "new\nline"),
        ] {
            self.add_symlink(Path::new("links").join(name), target);
        }
        self.add_symlink("links/long", "y/".repeat(1000));

        let content = self.random.noise(3000);
        let master = self.add_file("links/zz first name made", &content);
        for name in ["links/a second name", "links/folder/a third name"] {
            let full = self.place(name);
            done(&full, fs::hard_link(&master, &full));
        }
        let master = self.add_file("links/empty one", b"");
        let full = self.place("links/empty two");
        done(&full, fs::hard_link(&master, &full));
        self.settle()
    }

    /// A symbolic link with two names. Borg stores it as two links.
    #[must_use]
    pub fn linked_symlinks(mut self) -> Self {
        let master = self.add_symlink("links/symlink one", "target");
        let full = self.place("links/symlink two");
        done(&full, fs::hard_link(&master, &full));
        self.settle()
    }

    /// Named pipes; as root, character and block devices too. One pipe has two names.
    #[must_use]
    pub fn special_files(mut self) -> Self {
        let pipe = self.add_node("special/pipe", FileType::Fifo, 0);
        if let Some(pipe) = pipe {
            let full = self.place("special/pipe again");
            done(&full, fs::hard_link(&pipe, &full));
        }
        if is_root() {
            let device = rustix::fs::makedev;
            self.add_node("special/null", FileType::CharacterDevice, device(1, 3));
            self.add_node(
                "special/far away",
                FileType::CharacterDevice,
                device(511, 70000),
            );
            self.add_node("special/disk", FileType::BlockDevice, device(7, 9));
        } else {
            say_left_out("devices", "needs root");
        }
        self.settle()
    }

    /// A socket. Most backup formats leave it out.
    #[must_use]
    pub fn sockets(mut self) -> Self {
        let full = self.place("special/socket");
        // A socket's path is at most 107 bytes: a scratch directory may be deeper than that.
        match UnixListener::bind(&full) {
            Ok(_) => {
                let time = self.some_time();
                set_mtime(&full, time);
            }
            Err(error) => say_left_out("a socket", &error.to_string()),
        }
        self.settle()
    }

    fn add_node(&mut self, path: &str, kind: FileType, device: u64) -> Option<std::path::PathBuf> {
        let full = self.place(path);
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        where_possible(path, rustix::fs::mknodat(CWD, &full, kind, mode, device));
        if fs::symlink_metadata(&full).is_err() {
            return None;
        }
        let time = self.some_time();
        set_mtime(&full, time);
        Some(full)
    }
}
