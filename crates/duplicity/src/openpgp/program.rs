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
        pass_through(command, passphrase, input, out).map(drop)
    }

    /// Decrypts what `input` gives into `out`.
    ///
    /// When a sign key is set, its good signature is demanded; `out` must be thrown away when this
    /// fails.
    pub(crate) fn open(
        &self,
        input: impl Read + Send,
        out: &mut dyn Write,
    ) -> Result<(), GpgError> {
        let passphrase = self.passphrase.as_ref();
        let mut command = self.command(passphrase);
        command.args(["--status-fd", "2", "--decrypt"]);
        let said = pass_through(command, passphrase, input, out)?;
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
        let failed = said
            .lines()
            .any(|line| line.starts_with("[GNUPG:] BADSIG") || line.starts_with("[GNUPG:] ERRSIG"));
        if signed && !failed {
            Ok(())
        } else {
            Err(GpgError::NotSigned { key: key.clone() })
        }
    }
}

fn pass_through(
    mut command: Command,
    passphrase: Option<&Passphrase>,
    mut input: impl Read + Send,
    out: &mut dyn Write,
) -> Result<String, GpgError> {
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
    if !status.success() {
        let plain: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("[GNUPG:]"))
            .collect();
        return Err(GpgError::Failed {
            said: plain.join("; "),
        });
    }
    fed.map_err(GpgError::Run)?;
    Ok(said)
}

fn kill(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
}
