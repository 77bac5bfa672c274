//! Names that break careless programs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::Tree;

/// Every one is legal on Linux: any bytes but `/` and NUL, 1 to 255 of them.
const NAMES: &[&[u8]] = &[
    b"plain",
    b".hidden",
    b"...",
    b" space before and after ",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\tand bell\x07",
    b"escape \x1b[31mred\x1b[0m",
    b"\x01",
    b"\x7f",
    b"not UTF-8 \xff\xfe",
    b"cut UTF-8 \xe2\x82",
    b"surrogate \xed\xb2\x80",
    b"-rf",
    b"--help",
    b"right to left \xe2\x80\xaefdp.exe",
    b"composed \xc3\xa9",
    b"composed e\xcc\x81",
    b"emoji \xf0\x9f\x8f\xb0",
    b"<script>alert(1)</script>",
    b"&amp;",
    b"\"double\" and 'single'",
    b"back\\slash",
    b"$(touch x) `touch y` ;|&",
    b"*",
    b"?",
    b"[a]",
    b"{now}",
    b"%s%n",
    b"%2e%2e%2f",
    b"name::archive",
    b"host:path",
    b"~",
    b"#comment",
    b"CON",
];

impl Tree {
    /// Files and directories with odd names: control characters, no UTF-8, 255 bytes, options,
    /// markup, patterns; and a path longer than the system takes in one piece.
    #[must_use]
    pub fn odd_names(mut self) -> Self {
        let long: [Vec<u8>; 2] = [vec![b'x'; 255], "ä".repeat(127).into_bytes()];
        let all = NAMES.iter().copied().chain(long.iter().map(Vec::as_slice));
        for (index, name) in all.enumerate() {
            let mut path = b"names/".to_vec();
            path.extend_from_slice(name);
            let content = self.random.noise(index);
            if index % 4 == 3 {
                path.extend_from_slice(b"/");
                path.extend_from_slice(name);
            }
            self.add_file(OsStr::from_bytes(&path), &content);
        }
        self.settle()
    }
}
