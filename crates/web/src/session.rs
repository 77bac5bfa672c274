//! Who is signed in: one-time links, sessions, and a limit to guesses.
//!
//! A link is good for one sign-in within ten minutes and is made by whoever sees the terminal. A
//! session is known by 256 random bits in a cookie, of which we keep the hash, so that nothing in
//! our memory lets anybody in. Sessions live here alone: they end with the program, after twelve
//! idle hours, after a week, or when they are revoked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::Random;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// How long a link to sign in is good.
const LINK_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// After how long without a request a session ends.
const IDLE_MAX: SignedDuration = SignedDuration::from_hours(12);
/// The longest life of a session.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Sessions at a time; the oldest makes room.
const SESSIONS_MAX: usize = 32;
/// Wrong links and passwords before everybody waits.
const FREE_TRIES: u32 = 5;
/// Longest wait after a wrong guess.
const WAIT_MAX: SignedDuration = SignedDuration::from_mins(10);

type Hash = [u8; 32];

/// All that is known about who may come in.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    link: Option<(Hash, Timestamp)>,
    sessions: Vec<Session>,
    wrong: u32,
    last_wrong: Option<Timestamp>,
    last_invited: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct Session {
    id: Hash,
    form_token: String,
    since: Timestamp,
    seen: Timestamp,
}

/// One who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// Stands in every form of this session, and in no page of another.
    pub(crate) form_token: String,
    /// When they signed in.
    pub(crate) since: Timestamp,
}

/// Why nobody is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The link or the password is not right, or no longer.
    Wrong,
    /// Too many guesses: wait so long.
    TooMany(SignedDuration),
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new link's secret; the one before is worth nothing from now on.
    pub(crate) fn invite(&self, now: Timestamp, random: Random) -> std::io::Result<String> {
        let secret = secret(random)?;
        let mut inner = self.lock();
        inner.link = Some((hash(&secret), now));
        inner.last_invited = Some(now);
        Ok(secret)
    }

    /// Whether a link was made less than ten seconds ago.
    pub(crate) fn just_invited(&self, now: Timestamp) -> bool {
        let last = self.lock().last_invited;
        last.is_some_and(|last| now.duration_since(last) < SignedDuration::from_secs(10))
    }

    /// Uses a link up. Gives the secret for the cookie.
    pub(crate) fn sign_in(
        &self,
        link: &str,
        now: Timestamp,
        random: Random,
    ) -> Result<std::io::Result<String>, Denied> {
        let mut inner = self.lock();
        inner.check_wait(now)?;
        let is_right = inner.link.is_some_and(|(known, made)| {
            // Hashes are compared: what their comparison tells is of no use to who guesses.
            known == hash(link) && now.duration_since(made) < LINK_LIFE
        });
        if !is_right {
            inner.note_wrong(now);
            return Err(Denied::Wrong);
        }
        inner.link = None;
        Ok(inner.begin(now, random))
    }

    /// Lets in who knows the password; `check` is asked only when guesses are left.
    pub(crate) fn sign_in_by_password(
        &self,
        now: Timestamp,
        random: Random,
        check: impl FnOnce() -> bool,
    ) -> Result<std::io::Result<String>, Denied> {
        self.lock().check_wait(now)?;
        // Slow on purpose, so not under the lock.
        let is_right = check();
        let mut inner = self.lock();
        if !is_right {
            inner.note_wrong(now);
            return Err(Denied::Wrong);
        }
        Ok(inner.begin(now, random))
    }

    /// Who comes with this cookie.
    pub(crate) fn visitor(&self, cookie: &str, now: Timestamp) -> Option<Visitor> {
        let id = hash(cookie);
        let mut inner = self.lock();
        inner.sessions.retain(|session| {
            now.duration_since(session.seen) < IDLE_MAX
                && now.duration_since(session.since) < LIFE_MAX
        });
        let mut sessions = inner.sessions.iter_mut();
        let session = sessions.find(|session| session.id == id)?;
        session.seen = now;
        Some(Visitor {
            form_token: session.form_token.clone(),
            since: session.since,
        })
    }

    /// Ends one session.
    pub(crate) fn end(&self, cookie: &str) {
        let id = hash(cookie);
        self.lock().sessions.retain(|session| session.id != id);
    }

    /// Ends all sessions, and the link that waits.
    pub(crate) fn end_all(&self) -> usize {
        let mut inner = self.lock();
        inner.link = None;
        std::mem::take(&mut inner.sessions).len()
    }

    /// How many are signed in.
    pub(crate) fn count(&self) -> usize {
        self.lock().sessions.len()
    }
}

impl Inner {
    fn begin(&mut self, now: Timestamp, random: Random) -> std::io::Result<String> {
        let cookie = secret(random)?;
        let form_token = secret(random)?;
        self.wrong = 0;
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.remove(0);
        }
        self.sessions.push(Session {
            id: hash(&cookie),
            form_token,
            since: now,
            seen: now,
        });
        Ok(cookie)
    }

    fn note_wrong(&mut self, now: Timestamp) {
        self.wrong = self.wrong.saturating_add(1);
        self.last_wrong = Some(now);
    }

    /// After five wrong guesses each further one doubles the wait, for everybody: who guesses has
    /// many addresses.
    fn check_wait(&self, now: Timestamp) -> Result<(), Denied> {
        let Some(last) = self.last_wrong.filter(|_| self.wrong >= FREE_TRIES) else {
            return Ok(());
        };
        let doublings = (self.wrong - FREE_TRIES).min(16);
        let wait = SignedDuration::from_secs(5 << doublings).min(WAIT_MAX);
        let left = wait - now.duration_since(last);
        if left > SignedDuration::ZERO {
            return Err(Denied::TooMany(left));
        }
        Ok(())
    }
}

fn secret(random: Random) -> std::io::Result<String> {
    let mut bytes = [0; 32];
    random(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn enter(sessions: &Sessions, link: &str, now: Timestamp) -> Result<String, Denied> {
        let entered = sessions.sign_in(link, now, engine::random::system)?;
        Ok(entered.unwrap())
    }

    #[test]
    fn a_link_is_good_once_and_for_ten_minutes() {
        let sessions = Sessions::default();
        let link = sessions.invite(at(0), engine::random::system).unwrap();
        let cookie = enter(&sessions, &link, at(599)).unwrap();
        assert!(sessions.visitor(&cookie, at(600)).is_some());
        assert_eq!(enter(&sessions, &link, at(600)), Err(Denied::Wrong));
        let link = sessions.invite(at(1000), engine::random::system).unwrap();
        assert_eq!(enter(&sessions, &link, at(1600)), Err(Denied::Wrong));
    }

    #[test]
    fn a_session_ends_when_idle_when_old_and_when_revoked() {
        let sessions = Sessions::default();
        let sign_in = |now| {
            let link = sessions.invite(now, engine::random::system).unwrap();
            enter(&sessions, &link, now).unwrap()
        };
        let idle = sign_in(at(0));
        assert_eq!(sessions.visitor(&idle, at(12 * 3600)), None);
        let old = sign_in(at(0));
        for hour in (0..7 * 24).step_by(8) {
            assert!(sessions.visitor(&old, at(hour * 3600)).is_some());
        }
        assert_eq!(sessions.visitor(&old, at(7 * 24 * 3600)), None);
        let (one, other) = (sign_in(at(0)), sign_in(at(0)));
        assert_ne!(one, other);
        sessions.end(&one);
        assert_eq!(sessions.visitor(&one, at(1)), None);
        assert!(sessions.visitor(&other, at(1)).is_some());
        assert_eq!(sessions.end_all(), 1);
        assert_eq!(sessions.visitor(&other, at(1)), None);
    }

    #[test]
    fn guessing_makes_everybody_wait() {
        let sessions = Sessions::default();
        let link = sessions.invite(at(0), engine::random::system).unwrap();
        for _ in 0..5 {
            assert_eq!(enter(&sessions, "guess", at(0)), Err(Denied::Wrong));
        }
        let wait = SignedDuration::from_secs(5);
        assert_eq!(enter(&sessions, &link, at(0)), Err(Denied::TooMany(wait)));
        assert!(enter(&sessions, &link, at(5)).is_ok());
    }
}
