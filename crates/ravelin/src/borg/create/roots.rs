//! Where a backup begins: what was typed, as the scan wants it.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::borg::arguments::Arguments;
use crate::borg::fail::Failure;

/// The root for a path as it was typed: without `.` and `..` inside it; what leads out of the
/// current folder in front is no part of what is stored, like a `/./` that was typed.
pub(super) fn root(typed: &OsStr) -> PathBuf {
    let bytes = typed.as_bytes();
    if let Some(at) = find(bytes, b"/./") {
        let (base, rest) = bytes.split_at(at);
        let rest = rest.get(3..).unwrap_or_default();
        let base = match base {
            [] => b"/".to_vec(),
            base => normal(base),
        };
        let rest = normal(rest);
        let rest: &[u8] = if rest == b"." { b"" } else { &rest };
        return path([base.as_slice(), b"/./", rest].concat());
    }
    let normal = normal(bytes);
    let mut rest = normal.as_slice();
    let mut climbs = 0;
    while let Some(behind) = rest.strip_prefix(b"..") {
        climbs += 1;
        rest = behind.strip_prefix(b"/").unwrap_or(behind);
    }
    if climbs == 0 {
        return path(normal);
    }
    let up = vec![b"..".as_slice(); climbs].join(&b"/"[..]);
    path([up.as_slice(), b"/./", rest].concat())
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// The path without doubled slashes, `.`, and `..` behind a name.
fn normal(path: &[u8]) -> Vec<u8> {
    let is_absolute = path.starts_with(b"/");
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => match names.last() {
                Some(&last) if last != b".." => {
                    names.pop();
                }
                None if is_absolute => {}
                _ => names.push(name),
            },
            name => names.push(name),
        }
    }
    let joined = names.join(&b"/"[..]);
    match (is_absolute, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// What is stored of a root, and what stands before it on this machine: nothing, where it was named
/// from the current folder.
pub(super) fn place_of(root: &Path) -> (Vec<u8>, Vec<u8>) {
    let bytes = root.as_os_str().as_bytes();
    let is_absolute = bytes.starts_with(b"/");
    let (before, stored) = match find(bytes, b"/./") {
        Some(at) => {
            let mut before = normal(bytes.get(..at.max(1)).unwrap_or_default());
            if !before.ends_with(b"/") {
                before.push(b'/');
            }
            (before, bytes.get(at + 3..).unwrap_or_default())
        }
        None if is_absolute => (b"/".to_vec(), bytes),
        None => (Vec::new(), bytes),
    };
    let stored = normal(stored.strip_prefix(b"/").unwrap_or(stored));
    match stored.as_slice() {
        b"." => (Vec::new(), before),
        _ => (stored, before),
    }
}

/// The folder that stored paths are relative to, with a slash behind it.
pub(super) fn base_of(roots: &[PathBuf]) -> Vec<u8> {
    if roots.iter().all(|root| root.is_absolute()) {
        return b"/".to_vec();
    }
    let mut base = current_folder();
    if !base.ends_with(b"/") {
        base.push(b'/');
    }
    base
}

/// The current folder, as bytes.
pub(super) fn current_folder() -> Vec<u8> {
    let folder = env::current_dir().unwrap_or_else(|_| "/".into());
    folder.into_os_string().into_vec()
}

/// A path of this machine as it would be stored: for rules that leave something of our own out.
pub(super) fn as_stored(path: &Path, roots: &[PathBuf]) -> Option<String> {
    let absolute = std::path::absolute(path).ok()?;
    if roots.iter().all(|root| root.is_absolute()) {
        return Some(absolute.to_str()?.to_owned());
    }
    let folder = OsString::from_vec(current_folder());
    let relative = absolute.strip_prefix(Path::new(&folder)).ok()?;
    Some(relative.to_str()?.to_owned())
}

/// Paths that come from standard input or from a command.
pub(super) fn listed(arguments: &Arguments) -> Result<Vec<PathBuf>, Failure> {
    let delimiter = match arguments.text("paths_delimiter") {
        Some(text) => unescaped(&text),
        None => b"\n".to_vec(),
    };
    if delimiter.is_empty() {
        return Err(Failure::usage("argument --paths-delimiter: it is empty"));
    }
    let mut text = Vec::new();
    if arguments.has("paths_from_command") {
        let (mut child, name) = start(arguments)?;
        if let Some(mut output) = child.stdout.take() {
            output.read_to_end(&mut text)?;
        }
        end(child, &name)?;
    } else {
        io::stdin().lock().read_to_end(&mut text)?;
    }
    let mut paths = Vec::new();
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        let end = find(rest, &delimiter).unwrap_or(rest.len());
        let (path, behind) = rest.split_at(end);
        if !path.is_empty() {
            paths.push(root(OsStr::from_bytes(path)));
        }
        rest = behind.get(delimiter.len()..).unwrap_or_default();
    }
    Ok(paths)
}

/// Starts the command that stands in the place of paths.
pub(super) fn start(arguments: &Arguments) -> Result<(Child, String), Failure> {
    let (program, words) = arguments
        .all("paths")
        .split_first()
        .ok_or_else(|| Failure::command("No command given."))?;
    let name = program.to_string_lossy().into_owned();
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::command(format!("Failed to execute command: {name}: {error}")))?;
    Ok((child, name))
}

/// Waits for a command, and fails when it failed.
pub(super) fn end(mut child: Child, name: &str) -> Result<(), Failure> {
    let status = child.wait()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure::command(format!(
            "Command '{name}' exited with status {code}"
        ))),
        None => Err(Failure::command(format!(
            "Command '{name}' ended: {status}"
        ))),
    }
}

/// Characters that were written as `\n`, `\0`, `\t`, `\x1f`.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match characters.next() {
            Some('n') => out.push(b'\n'),
            Some('r') => out.push(b'\r'),
            Some('t') => out.push(b'\t'),
            Some('0') => out.push(0),
            Some('x') => {
                let digits: String = characters.by_ref().take(2).collect();
                out.extend(u8::from_str_radix(&digits, 16).ok());
            }
            Some(other) => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.push(b'\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_paths_become_roots() {
        for (typed, expected) in [
            ("input", "input"),
            ("./input//x/", "input/x"),
            (".", "."),
            ("/", "/"),
            ("/home/../srv", "/srv"),
            ("../x", ".././x"),
            ("../../x/y/..", "../.././x"),
            ("..", ".././"),
            ("a/b/./c", "a/b/./c"),
            ("a/./", "a/./"),
            ("/srv/./x/../y", "/srv/./y"),
            ("/./x", "//./x"),
        ] {
            assert_eq!(root(OsStr::new(typed)), PathBuf::from(expected), "{typed}");
            let text = root(OsStr::new(typed)).into_os_string();
            assert_eq!(text, expected, "{typed}");
        }
    }

    #[test]
    fn delimiters_may_be_escaped() {
        assert_eq!(unescaped(r"\0"), b"\0");
        assert_eq!(unescaped(r"\n,\x41\\"), b"\n,A\\");
    }
}
