//! Where the page is served, and the names under which that is us.
//!
//! A browser is made to believe that `evil.example` is 127.0.0.1 by whoever answers its DNS
//! queries. So a request is served only when its `Host` is exactly one of our names with our port,
//! and a change only when its `Origin` is, too.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use engine::Machine;

/// Where the page is, for browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    listen: SocketAddr,
    /// The name under which a proxy that speaks TLS brings requests.
    proxy: Option<String>,
}

/// Why the page is not served at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Other machines could read along.
    #[error(
        "{0} can be reached from other machines, and this program does not speak TLS: listen on 127.0.0.1, or name the proxy that speaks TLS for it with --proxy https://NAME"
    )]
    Open(SocketAddr),
    /// Other machines could come, and no password stands between.
    #[error(
        "{0} can be reached from other machines and there is no password yet: set one with --password-file FILE"
    )]
    NoPassword(SocketAddr),
    /// What was typed is no address of a proxy.
    #[error("`{0}` is no address such as https://backup.example.org")]
    Proxy(String),
}

impl Address {
    /// An address that may be served.
    ///
    /// `proxy` is what people type into their browser, `https://NAME` or `https://NAME:PORT`, when
    /// another program takes their requests, speaks TLS, and hands them to us.
    ///
    /// # Errors
    ///
    /// [`BadAddress`] when others could read along, or come in without a password.
    pub fn new(
        listen: SocketAddr,
        proxy: Option<&str>,
        has_password: bool,
    ) -> Result<Self, BadAddress> {
        let proxy = proxy.map(name_of_proxy).transpose()?;
        let is_open = !listen.ip().is_loopback();
        if is_open && proxy.is_none() {
            return Err(BadAddress::Open(listen));
        }
        if (is_open || proxy.is_some()) && !has_password {
            return Err(BadAddress::NoPassword(listen));
        }
        Ok(Self { listen, proxy })
    }

    /// What is typed into a browser, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.proxy {
            Some(name) => format!("https://{name}"),
            None => format!("http://{}", self.listen),
        }
    }

    /// Writes down where the page is, for the commands that make links.
    ///
    /// # Errors
    ///
    /// When the state home cannot be written.
    pub fn remember(&self, machine: &Machine) -> io::Result<()> {
        engine::create_private_folder(&machine.places.state.join("page"))?;
        engine::replace_private_file(&file(machine), self.url().as_bytes())
    }

    /// Where the page was served last, as [`url`](Self::url) says it; `None` when it never was.
    #[must_use]
    pub fn remembered(machine: &Machine) -> Option<String> {
        let text = fs::read_to_string(file(machine)).ok()?;
        let is_address = text.starts_with("http://") || text.starts_with("https://");
        let is_one = text.len() < 300 && text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_address && is_one).then_some(text)
    }

    /// Whether browsers reach us through TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.proxy.is_some()
    }

    /// The origin that a request with this `Host` has; `None` when the name is not ours.
    pub(crate) fn origin(&self, host: &str) -> Option<String> {
        if let Some(name) = &self.proxy {
            return host
                .eq_ignore_ascii_case(name)
                .then(|| format!("https://{name}"));
        }
        let port = self.listen.port();
        let names = match self.listen.ip() {
            IpAddr::V4(ip) => [format!("{ip}:{port}"), format!("localhost:{port}")],
            IpAddr::V6(ip) => [format!("[{ip}]:{port}"), format!("localhost:{port}")],
        };
        names
            .iter()
            .find(|name| host.eq_ignore_ascii_case(name))
            .map(|name| format!("http://{name}"))
    }
}

fn file(machine: &Machine) -> PathBuf {
    machine.places.state.join("page").join("address")
}

fn name_of_proxy(typed: &str) -> Result<String, BadAddress> {
    let name = typed
        .strip_prefix("https://")
        .map(|rest| rest.trim_end_matches('/'));
    let is_name = |name: &&str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte))
    };
    name.filter(is_name)
        .map(str::to_lowercase)
        .ok_or_else(|| BadAddress::Proxy(typed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_our_own_names_are_ours() {
        let address = Address::new(listen("127.0.0.1:7848"), None, false).unwrap();
        for ours in ["127.0.0.1:7848", "localhost:7848", "LOCALHOST:7848"] {
            assert!(address.origin(ours).is_some(), "{ours}");
        }
        for foreign in [
            "evil.example:7848",
            "localhost.:7848",
            "localhost",
            "127.0.0.1",
            "127.0.0.1:80",
            "2130706433:7848",
            "127.1:7848",
            "[::1]:7848",
            "",
        ] {
            assert_eq!(address.origin(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn others_get_in_only_with_a_password_through_tls() {
        let open = listen("0.0.0.0:7848");
        assert_eq!(Address::new(open, None, true), Err(BadAddress::Open(open)));
        let proxy = Some("https://backup.example.org");
        assert_eq!(
            Address::new(open, proxy, false),
            Err(BadAddress::NoPassword(open))
        );
        let address = Address::new(open, proxy, true).unwrap();
        assert_eq!(address.url(), "https://backup.example.org");
        assert_eq!(
            address.origin("backup.example.org").as_deref(),
            Some("https://backup.example.org")
        );
        assert_eq!(address.origin("127.0.0.1:7848"), None);
        for bad in ["http://backup.example.org", "https://", "https://a/b", "x"] {
            assert!(Address::new(open, Some(bad), true).is_err(), "{bad}");
        }
    }
}
