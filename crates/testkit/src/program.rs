//! Programs of the system, installed when they are absent and that is possible.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::skip::{is_root, missing};

/// Which Debian package brings a program.
const PACKAGES: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("chattr", "e2fsprogs"),
    ("chromedriver", "chromium-driver"),
    ("chromium", "chromium"),
    ("crontab", "cron"),
    ("dbus-daemon", "dbus-daemon"),
    ("faketime", "faketime"),
    ("fish", "fish"),
    ("fusermount3", "fuse3"),
    ("dpkg-deb", "dpkg"),
    ("gcc", "gcc"),
    ("getfacl", "acl"),
    ("gnome-keyring-daemon", "gnome-keyring"),
    ("gpg", "gnupg"),
    ("lsattr", "e2fsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("objdump", "binutils"),
    ("openssl", "openssl"),
    ("pkg-config", "pkg-config"),
    ("python3", "python3"),
    ("rdiff", "rdiff"),
    ("rsync", "rsync"),
    ("script", "bsdutils"),
    ("secret-tool", "libsecret-tools"),
    ("setcap", "libcap2-bin"),
    ("setfacl", "acl"),
    ("setfattr", "attr"),
    ("sqlite3", "sqlite3"),
    ("ssh", "openssh-client"),
    ("sshd", "openssh-server"),
    ("strace", "strace"),
    ("strip", "binutils"),
    ("systemd-analyze", "systemd"),
    ("unshare", "util-linux"),
    ("zsh", "zsh"),
];

/// The path of a program of the system.
///
/// Looked for in `PATH` and the administrator's directories. When it is absent, the test runs
/// as root and the system is a Debian, its package is installed. Else the test is said to be
/// skipped and nothing is given back: `let Some(rsync) = testkit::require("rsync") else { return };`
///
/// # Panics
///
/// In CI, when the program cannot be had. Anywhere, for a program that the table of packages
/// in this file does not know.
#[must_use]
pub fn require(program: &str) -> Option<PathBuf> {
    let package = PACKAGES
        .iter()
        .find(|(name, _)| *name == program)
        .unwrap_or_else(|| panic!("testkit knows no package for `{program}`: add it to the table"))
        .1;
    if let Some(path) = find(program) {
        return Some(path);
    }
    let why = match install_packages(&[package]) {
        Ok(()) => format!("package {package} does not bring it"),
        Err(why) => why,
    };
    let found = find(program);
    if found.is_none() {
        missing(program, why);
    }
    found
}

/// Finds a program as a shell would, and in the administrator's directories, which are often
/// not in a user's `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Installs those Debian packages that are absent.
///
/// Several test programs may ask at once: one works, the others wait. The list of packages is
/// fetched only when the installation fails without that.
///
/// # Errors
///
/// Why it was not possible, in words for the line that says the test is skipped.
pub(crate) fn install_packages(packages: &[&str]) -> Result<(), String> {
    let Some(apt) = find("apt-get") else {
        return Err(format!("install it (Debian's {})", packages.join(" ")));
    };
    let _one_at_a_time = lock_file(&crate::stock::directory().join("apt.lock"))
        .map_err(|error| format!("cannot lock the package manager: {error}"))?;
    let absent: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    if !is_root() {
        return Err(format!("install it: apt-get install {}", absent.join(" ")));
    }
    let install = || {
        let mut command = Command::new(&apt);
        command.env("DEBIAN_FRONTEND", "noninteractive").args([
            "-y",
            "-o",
            "DPkg::Lock::Timeout=300",
            "--no-install-recommends",
            "install",
        ]);
        said(command.args(&absent))
    };
    install().or_else(|_| {
        said(Command::new(&apt).args(["-o", "DPkg::Lock::Timeout=300", "update"]))?;
        install()
    })
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Abbrev}", package])
        .output()
        .is_ok_and(|answer| answer.stdout.starts_with(b"ii"))
}

/// Runs a command to its end, silently.
///
/// # Errors
///
/// The command and the last lines of what it said, when it did not succeed.
pub(crate) fn said(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let answer = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start {name}: {error}"))?;
    if answer.status.success() {
        return Ok(());
    }
    Err(format!(
        "{name}: {}: {}",
        answer.status,
        last_lines(&answer)
    ))
}

fn last_lines(answer: &Output) -> String {
    let text = String::from_utf8_lossy(&answer.stderr);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(5)..].join(" | ")
}

/// Takes a lock that other threads and other test programs respect, until the file is dropped.
///
/// # Errors
///
/// When the file or its directory cannot be made.
pub(crate) fn lock_file(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.lock()?;
    Ok(file)
}

/// Runs a command and gives its output, which must be text.
///
/// # Panics
///
/// When the command cannot be started, does not succeed, or does not write UTF-8; with all
/// that it said.
#[must_use]
pub fn run(command: &mut Command) -> String {
    let answer = output(command);
    assert!(
        answer.status.success(),
        "{command:?}: {}\n{}{}",
        answer.status,
        String::from_utf8_lossy(&answer.stdout),
        String::from_utf8_lossy(&answer.stderr),
    );
    String::from_utf8(answer.stdout)
        .unwrap_or_else(|error| panic!("{command:?} does not write text: {error}"))
}

/// Runs a command with nothing to read and gives what came of it, success or not.
///
/// # Panics
///
/// When the command cannot be started.
#[must_use]
pub fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", show(command.get_program())))
}

fn show(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_every_system_is_found() {
        assert!(require("python3").is_none_or(|path| path.is_absolute()));
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let why = said(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err();
        assert!(
            why.contains("exit status: 3") && why.contains("no luck"),
            "{why}"
        );
    }

    #[test]
    #[should_panic(expected = "add it to the table")]
    fn a_program_without_a_known_package_is_a_mistake_in_the_test() {
        let _ = require("no-such-program-anywhere");
    }
}
