//! The desktop's keyring, through the `secret-tool` program of libsecret.
//!
//! It is the program that people use to look at their keyring by hand, and it speaks to every
//! implementation of the Secret Service. The secret goes through pipes, never through arguments. A
//! keyring that waits for a person who is not there is given up.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::Secret;

/// How long a keyring may wait for its password to be typed in.
const WAIT: Duration = Duration::from_secs(60);

/// Longest secret that is read.
const SIZE_MAX: u64 = 64 * 1024;

/// The secret of this name. Errors go on a sentence that began with "the keyring".
pub(super) fn lookup(program: &str, name: &str) -> Result<Secret, String> {
    let mut command = Command::new(program);
    command.args(["lookup", "application", "ravelin", "name", name]);
    let printed = run(command, None)?;
    let text = std::str::from_utf8(&printed)
        .unwrap_or_default()
        .trim_end_matches('\n');
    if text.is_empty() {
        return Err("does not have it any more".to_owned());
    }
    Ok(Secret::new(text))
}

/// Keeps a secret under a name; the label is what the person sees.
pub(super) fn store(program: &str, name: &str, label: &str, secret: &Secret) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("store").arg(format!("--label={label}"));
    command.args(["application", "ravelin", "name", name]);
    run(command, Some(secret))?;
    // Some implementations take everything and keep nothing.
    let found = lookup(program, name)?;
    if found == *secret {
        Ok(())
    } else {
        Err("gives back something else".to_owned())
    }
}

fn run(mut command: Command, input: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot = |error: std::io::Error| format!("cannot be asked: {program}: {error}");
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A program that does not take it fails, and says why.
        let _ = pipe.write_all(input.expose().as_bytes());
    }
    // Read aside, so that a program that hangs does not make us hang.
    let drain = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
            if let Some(pipe) = pipe {
                // What could not be read is missed below.
                let _ = pipe.take(SIZE_MAX).read_to_end(&mut bytes);
            }
            bytes
        })
    };
    let printed = drain(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let complained = drain(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if began.elapsed() > WAIT {
            // It may have ended just now.
            let _ = child.kill();
            let _ = child.wait();
            return Err("is locked, and nobody unlocked it".to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let printed = printed.join().unwrap_or_default();
    if status.success() {
        return Ok(printed);
    }
    let complained = complained.join().unwrap_or_default();
    let complained = String::from_utf8_lossy(&complained);
    let last = complained.lines().rfind(|line| !line.trim().is_empty());
    Err(match last {
        Some(line) => format!("cannot be asked: {}", line.trim().escape_debug()),
        // So it says that it has nothing of this name, or that the person does not want to.
        None => "does not have it, or is locked".to_owned(),
    })
}
