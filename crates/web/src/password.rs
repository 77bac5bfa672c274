//! The password for visitors from other machines: one line in the state home, of which nobody
//! learns the password.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Machine, replace_private_file};
use subtle::ConstantTimeEq as _;

/// Shortest password: with the waits after wrong guesses, nobody comes far in a lifetime.
const LENGTH_MIN: usize = 10;

fn file(state: &Path) -> PathBuf {
    state.join("page").join("password")
}

/// Sets the password that visitors from other machines sign in with.
///
/// # Errors
///
/// When it has fewer than ten characters, or cannot be written down.
pub fn set_password(password: &str, machine: &Machine) -> io::Result<()> {
    if password.chars().count() < LENGTH_MIN {
        let short = format!("a password has at least {LENGTH_MIN} characters");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, short));
    }
    let mut salt = [0; 16];
    (machine.random)(&mut salt)?;
    let hash = hash(password, &salt)?;
    let line = format!("{} {}\n", STANDARD.encode(salt), STANDARD.encode(hash));
    let file = file(&machine.places.state);
    if let Some(folder) = file.parent() {
        engine::create_private_folder(folder)?;
    }
    replace_private_file(&file, line.as_bytes())
}

/// Whether visitors from other machines can sign in with a password.
#[must_use]
pub fn has_password(machine: &Machine) -> bool {
    is_set(&machine.places.state)
}

/// Whether there is one.
pub(crate) fn is_set(state: &Path) -> bool {
    file(state).is_file()
}

/// Whether this is the one. Slow on purpose.
pub(crate) fn is_right(password: &str, state: &Path) -> bool {
    let known = || {
        let line = fs::read_to_string(file(state)).ok()?;
        let (salt, known) = line.trim_end().split_once(' ')?;
        let salt = STANDARD.decode(salt).ok()?;
        let known = STANDARD.decode(known).ok()?;
        let typed = hash(password, &salt).ok()?;
        Some(bool::from(typed.as_slice().ct_eq(&known)))
    };
    known().unwrap_or(false)
}

/// Argon2id with what OWASP recommends: 19 MiB, two passes, one lane.
fn hash(password: &str, salt: &[u8]) -> io::Result<[u8; 32]> {
    let failed = |error: argon2::Error| io::Error::other(error.to_string());
    let parameters = Params::new(19 * 1024, 2, 1, Some(32)).map_err(failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let mut hash = [0; 32];
    argon2
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .map_err(failed)?;
    Ok(hash)
}
