//! Which system calls change files, and which file.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::Call;

/// Where a system call's arguments say which file it is about.
#[derive(Clone, Copy)]
enum Subject {
    /// The file descriptor in this argument.
    Descriptor(usize),
    /// The path in this argument, from the current directory.
    Path(usize),
    /// The path in the second of these arguments, from the directory in the first.
    Below(usize, usize),
}

/// The kinds of system calls that change files.
struct Kind {
    number: i64,
    name: &'static str,
    subject: Subject,
    writes: bool,
    /// The argument that holds `open` flags: it counts only when it may create or cut a file.
    flags: Option<usize>,
}

const fn kind(number: i64, name: &'static str, subject: Subject) -> Kind {
    Kind {
        number,
        name,
        subject,
        writes: false,
        flags: None,
    }
}

const fn write(number: i64, name: &'static str, subject: Subject) -> Kind {
    Kind {
        number,
        name,
        subject,
        writes: true,
        flags: None,
    }
}

const fn open(number: i64, name: &'static str, subject: Subject, flags: usize) -> Kind {
    Kind {
        number,
        name,
        subject,
        writes: true,
        flags: Some(flags),
    }
}

use Subject::{Below, Descriptor};

const KINDS: &[Kind] = &[
    write(libc::SYS_write, "write", Descriptor(0)),
    write(libc::SYS_pwrite64, "pwrite64", Descriptor(0)),
    write(libc::SYS_writev, "writev", Descriptor(0)),
    write(libc::SYS_pwritev, "pwritev", Descriptor(0)),
    write(libc::SYS_pwritev2, "pwritev2", Descriptor(0)),
    write(libc::SYS_copy_file_range, "copy_file_range", Descriptor(2)),
    write(libc::SYS_sendfile, "sendfile", Descriptor(0)),
    write(libc::SYS_splice, "splice", Descriptor(2)),
    write(libc::SYS_fallocate, "fallocate", Descriptor(0)),
    kind(libc::SYS_ftruncate, "ftruncate", Descriptor(0)),
    kind(libc::SYS_truncate, "truncate", Subject::Path(0)),
    open(libc::SYS_open, "open", Subject::Path(0), 1),
    open(libc::SYS_openat, "openat", Below(0, 1), 2),
    open(libc::SYS_creat, "creat", Subject::Path(0), usize::MAX),
    kind(libc::SYS_rename, "rename", Subject::Path(1)),
    kind(libc::SYS_renameat, "renameat", Below(2, 3)),
    kind(libc::SYS_renameat2, "renameat2", Below(2, 3)),
    kind(libc::SYS_link, "link", Subject::Path(1)),
    kind(libc::SYS_linkat, "linkat", Below(2, 3)),
    kind(libc::SYS_symlink, "symlink", Subject::Path(1)),
    kind(libc::SYS_symlinkat, "symlinkat", Below(1, 2)),
    kind(libc::SYS_unlink, "unlink", Subject::Path(0)),
    kind(libc::SYS_unlinkat, "unlinkat", Below(0, 1)),
    kind(libc::SYS_rmdir, "rmdir", Subject::Path(0)),
    write(libc::SYS_mkdir, "mkdir", Subject::Path(0)),
    write(libc::SYS_mkdirat, "mkdirat", Below(0, 1)),
    write(libc::SYS_mknod, "mknod", Subject::Path(0)),
    write(libc::SYS_mknodat, "mknodat", Below(0, 1)),
    kind(libc::SYS_chmod, "chmod", Subject::Path(0)),
    kind(libc::SYS_fchmod, "fchmod", Descriptor(0)),
    kind(libc::SYS_fchmodat, "fchmodat", Below(0, 1)),
    kind(libc::SYS_chown, "chown", Subject::Path(0)),
    kind(libc::SYS_lchown, "lchown", Subject::Path(0)),
    kind(libc::SYS_fchown, "fchown", Descriptor(0)),
    kind(libc::SYS_fchownat, "fchownat", Below(0, 1)),
    kind(libc::SYS_setxattr, "setxattr", Subject::Path(0)),
    kind(libc::SYS_lsetxattr, "lsetxattr", Subject::Path(0)),
    kind(libc::SYS_fsetxattr, "fsetxattr", Descriptor(0)),
    kind(libc::SYS_utimensat, "utimensat", Below(0, 1)),
    kind(libc::SYS_fsync, "fsync", Descriptor(0)),
    kind(libc::SYS_fdatasync, "fdatasync", Descriptor(0)),
    kind(libc::SYS_sync_file_range, "sync_file_range", Descriptor(0)),
    kind(libc::SYS_syncfs, "syncfs", Descriptor(0)),
];

/// What a system call that is about to be made would change below one of the directories.
pub(super) fn recognise(
    process: i32,
    number: i64,
    arguments: [u64; 6],
    directories: &[PathBuf],
) -> Option<Call> {
    let kind = KINDS.iter().find(|kind| kind.number == number)?;
    if let Some(&flags) = kind.flags.and_then(|at| arguments.get(at)) {
        let changing = u64::try_from(libc::O_CREAT | libc::O_TRUNC).unwrap_or(0);
        if flags & changing == 0 {
            return None;
        }
    }
    let path = subject(process, kind.subject, arguments).ok()?;
    let inside = directories
        .iter()
        .any(|directory| path.starts_with(directory));
    inside.then_some(Call {
        name: kind.name,
        path,
        writes: kind.writes,
    })
}

/// Whether a call is a write of which a half can be made, and the argument with its length.
pub(super) fn length_argument(call: &Call) -> Option<usize> {
    matches!(call.name, "write" | "pwrite64").then_some(2)
}

fn subject(process: i32, subject: Subject, arguments: [u64; 6]) -> io::Result<PathBuf> {
    let link = |name: String| fs::read_link(format!("/proc/{process}/{name}"));
    let number = |at: usize| arguments.get(at).copied().unwrap_or(0);
    // The kernel takes the lower half of the register: -100 is the current directory.
    let descriptor = |at: usize| {
        let [a, b, c, d, ..] = number(at).to_le_bytes();
        i32::from_le_bytes([a, b, c, d])
    };
    match subject {
        Descriptor(at) => link(format!("fd/{}", descriptor(at))),
        Subject::Path(at) => Ok(link("cwd".into())?.join(text(process, number(at))?)),
        Below(directory, at) => {
            let base = match descriptor(directory) {
                libc::AT_FDCWD => link("cwd".into())?,
                descriptor => link(format!("fd/{descriptor}"))?,
            };
            // No path at all: the call is about the descriptor itself.
            if number(at) == 0 {
                Ok(base)
            } else {
                Ok(base.join(text(process, number(at))?))
            }
        }
    }
}

/// A text in the program's memory, up to its zero byte.
fn text(process: i32, address: u64) -> io::Result<PathBuf> {
    let memory = fs::File::open(Path::new("/proc").join(process.to_string()).join("mem"))?;
    let mut bytes = Vec::new();
    // In small steps, for the text may end just before memory that cannot be read.
    let mut step = [0; 64];
    while bytes.len() < 4096 {
        let at = address + bytes.len() as u64;
        let to_page_end = usize::try_from(4096 - at % 4096)
            .unwrap_or(1)
            .min(step.len());
        let read = memory.read_at(&mut step[..to_page_end], at)?;
        if let Some(end) = step[..read].iter().position(|&byte| byte == 0) {
            bytes.extend_from_slice(&step[..end]);
            break;
        }
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&step[..read]);
    }
    Ok(OsString::from_vec(bytes).into())
}
