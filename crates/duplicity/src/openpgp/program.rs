//! The real `gpg`, for keys that live in its agent, its key ring or on a card.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::Passphrase;

/// How `gpg` is to be run.
#[derive(Debug, Clone, Default)]
pub struct Gpg {
    /// The program; `gpg` when `None`.
    pub program: Option<PathBuf>,
    /// Its home directory; its own default when `None`.
    pub home: Option<PathBuf>,
    /// Keys that the archive is encrypted to.
    pub recipients: Vec<String>,
    /// Keys that it is encrypted to without naming them in it.
    pub hidden_recipients: Vec<String>,
    /// The key that signs, and that must have signed what is read.
    pub sign_key: Option<String>,
    /// Passphrase of the keys, or of the archive when it is encrypted to none; without one the
    /// agent is asked.
    pub passphrase: Option<Passphrase>,
    /// Passphrase of the key that signs, where it is another one.
    pub sign_passphrase: Option<Passphrase>,
    /// Further options, as `--gpg-options` has them.
    pub options: Vec<OsString>,
}

/// What went wrong with `gpg`.
#[derive(Debug, thiserror::Error)]
pub enum GpgError {
    /// It could not be started or spoken to.
    #[error("cannot run gpg")]
    Run(#[source] io::Error),
    /// It refused.
    #[error("gpg failed: {said}")]
    Failed {
        /// The end of what it said.
        said: String,
    },
    /// What it was given is not what was encrypted, and it did not fail for want of a key.
    #[error("gpg finds it broken: {said}")]
    Damaged {
        /// The end of what it said.
        said: String,
    },
    /// The file is not signed by the key that is asked for.
    #[error("the file is not signed by key {key}")]
    NotSigned {
        /// The key that should have signed.
        key: String,
    },
}

/// Largest piece of gpg's own words that is kept, in bytes.
const SAID_MAX: u64 = 64 << 10;

impl Gpg {
    fn command(&self, passphrase: Option<&Passphrase>) -> Command {
        let mut command = Command::new(self.program.as_deref().unwrap_or("gpg".as_ref()));
        if let Some(home) = &self.home {
            command.env("GNUPGHOME", home);
        }
        command.args([
            "--batch",
            "--no-tty",
            "--trust-model",
            "always",
            "--no-secmem-warning",
        ]);
        if passphrase.is_some() {
            command.args(["--pinentry-mode", "loopback", "--passphrase-fd", "0"]);
        }
        command.args(&self.options);
        command
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Encrypts what `input` gives into `out`: to the keys, or where there are none with the
    /// passphrase alone.
    pub(crate) fn seal(
        &self,
        input: impl Read + Send,
        out: &mut dyn Write,
        compress: bool,
    ) -> Result<(), GpgError> {
        // Encrypting to keys takes none of their passphrases; signing does.
        let passphrase = match &self.sign_passphrase {
            Some(passphrase) if self.sign_key.is_some() => Some(passphrase),
            _ => self.passphrase.as_ref(),
        };
        let mut command = self.command(passphrase);
        if let Some(key) = &self.sign_key {
            command.args(["--default-key", key, "--sign"]);
        }
        for key in &self.recipients {
            command.args(["--recipient", key]);
        }
        for key in &self.hidden_recipients {
            command.args(["--hidden-recipient", key]);
        }
        if !compress {
            command.args(["--compress-algo", "none"]);
        }
        command.arg(
            if self.recipients.is_empty() && self.hidden_recipients.is_empty() {
                "--symmetric"
            } else {
                "--encrypt"
            },
        );
        match pass_through(command, passphrase, input, out)? {
            (true, _) => Ok(()),
            (false, said) => Err(GpgError::Failed { said: plain(&said) }),
        }
    }

    /// Decrypts what `input` gives into `out`.
    ///
    /// When a sign key is set, its good signature is demanded; `out` must be thrown away when this
    /// fails.
    ///
    /// # Errors
    ///
    /// [`GpgError::Damaged`] only where no key can be the reason: see [`is_broken`].
    pub(crate) fn open(
        &self,
        input: impl Read + Send,
        out: &mut dyn Write,
    ) -> Result<(), GpgError> {
        let passphrase = self.passphrase.as_ref();
        let mut command = self.command(passphrase);
        command.args(["--status-fd", "2", "--decrypt"]);
        let (ended_well, said) = pass_through(command, passphrase, input, out)?;
        // It is content with a file that ends before what is encrypted begins: nothing comes out of it then.
        if !ended_well || !has_status(&said, &["PLAINTEXT"]) {
            return Err(match ended_well || is_broken(&said) {
                true => GpgError::Damaged { said: plain(&said) },
                false => GpgError::Failed { said: plain(&said) },
            });
        }
        let Some(key) = &self.sign_key else {
            return Ok(());
        };
        let wanted = key.trim_start_matches("0x").to_uppercase();
        let signed = said
            .lines()
            .filter_map(|line| line.strip_prefix("[GNUPG:] VALIDSIG "))
            .any(|line| {
                // The signing subkey's fingerprint comes first, its primary key's last.
                line.split(' ')
                    .any(|word| word.len() >= wanted.len() && word.ends_with(&wanted))
            });
        if signed && !has_status(&said, &["BADSIG", "ERRSIG"]) {
            Ok(())
        } else {
            Err(GpgError::NotSigned { key: key.clone() })
        }
    }
}

/// Whether a file that gpg could not open is not what was encrypted.
///
/// A key, a passphrase or an agent that is not there must never look like that. So either gpg came to where a
/// secret key had opened the file, and then found its content cut off or changed; or it found no beginning of
/// a message at all, for which no key is asked.
fn is_broken(said: &str) -> bool {
    let says = |what: &str| said.lines().any(|line| line.contains(what));
    if has_status(said, &["DECRYPTION_KEY"]) {
        return has_status(said, &["BADMDC", "NODATA"])
            || says("decryption failed: Invalid packet")
            || says("zlib inflate problem")
            || says("bz2lib inflate problem");
    }
    let asked = &["ENC_TO", "NEED_PASSPHRASE_SYM", "BEGIN_DECRYPTION"];
    has_status(said, &["NODATA"]) && !has_status(said, asked)
}

/// Whether gpg has said one of these words for programs.
fn has_status(said: &str, words: &[&str]) -> bool {
    let mut said = said
        .lines()
        .filter_map(|line| line.strip_prefix("[GNUPG:] "));
    said.any(|line| words.contains(&line.split(' ').next().unwrap_or_default()))
}

/// What gpg has said for people.
fn plain(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.starts_with("[GNUPG:]"));
    match lines.collect::<Vec<_>>().join("; ") {
        plain if plain.is_empty() => "there is no whole message in it".to_owned(),
        plain => plain,
    }
}

/// Feeds gpg. Gives whether it ended well, and what it said; when it did not take all that it was to be
/// given, for another reason than that it wanted no more, that is an error.
fn pass_through(
    mut command: Command,
    passphrase: Option<&Passphrase>,
    mut input: impl Read + Send,
    out: &mut dyn Write,
) -> Result<(bool, String), GpgError> {
    let mut child = command.spawn().map_err(GpgError::Run)?;
    let (Some(mut stdin), Some(mut stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(GpgError::Run(io::ErrorKind::BrokenPipe.into()));
    };
    let (fed, copied, said) = thread::scope(|scope| {
        let feeder = scope.spawn(move || -> io::Result<()> {
            if let Some(passphrase) = passphrase {
                stdin.write_all(passphrase.expose().as_bytes())?;
                stdin.write_all(b"\n")?;
            }
            io::copy(&mut input, &mut stdin).map(drop)
        });
        let listener = scope.spawn(move || {
            let mut said = Vec::new();
            let mut stderr = stderr;
            let _ = stderr.by_ref().take(SAID_MAX).read_to_end(&mut said);
            // It must not block on what nobody reads.
            let _ = io::copy(&mut stderr, &mut io::sink());
            String::from_utf8_lossy(&said).into_owned()
        });
        let copied = io::copy(&mut stdout, out);
        if copied.is_err() {
            kill(&mut child);
        }
        let fed = feeder
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        (fed, copied, listener.join().unwrap_or_default())
    });
    let status = child.wait().map_err(GpgError::Run)?;
    copied.map_err(GpgError::Run)?;
    match fed {
        Err(error) if status.success() || error.kind() != io::ErrorKind::BrokenPipe => {
            Err(GpgError::Run(error))
        }
        _ => Ok((status.success(), said)),
    }
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
}
