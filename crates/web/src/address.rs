//! Where the page is served, and the names under which that is us.
//!
//! A browser is made to believe that `evil.example` is 127.0.0.1 by whoever answers its DNS
//! queries. So a request is served only when its `Host` is exactly one of our names with our port,
//! and a change only when its `Origin` is, too.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use engine::Machine;

/// Where the page is, for browsers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    listen: SocketAddr,
    way: Way,
}

/// How browsers come to us.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// From this machine.
    Plain,
    /// Through a proxy that speaks TLS, under this name.
    Proxy(String),
    /// Through TLS of our own, under these names, the one that is told first.
    Tls(Vec<String>),
}

/// Why the page is not served at an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// Other machines could read along.
    #[error(
        "{0} can be reached from other machines, and without TLS they could read along: listen on 127.0.0.1, speak TLS with --tls, or name the proxy that speaks it with --proxy https://NAME"
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
    /// What was typed is no name of a machine.
    #[error("`{0}` is no name or address of a machine, such as backup.example.org")]
    Name(String),
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
        let way = proxy.map_or(Way::Plain, Way::Proxy);
        Ok(Self { listen, way })
    }

    /// An address that is served through TLS of our own, under these names and addresses of this
    /// machine: the first one is told to people.
    ///
    /// # Errors
    ///
    /// [`BadAddress`] when others could come in without a password, or a name is none.
    pub fn with_tls(
        listen: SocketAddr,
        names: &[String],
        has_password: bool,
    ) -> Result<Self, BadAddress> {
        if !listen.ip().is_loopback() && !has_password {
            return Err(BadAddress::NoPassword(listen));
        }
        let is_name = |name: &String| {
            name.parse::<IpAddr>().is_ok()
                || (!name.is_empty()
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)))
        };
        if let Some(bad) = names.iter().find(|name| !is_name(name)) {
            return Err(BadAddress::Name(bad.clone()));
        }
        let mut names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        if names.is_empty() {
            names.push(listen.ip().to_string());
        }
        let way = Way::Tls(names);
        Ok(Self { listen, way })
    }

    /// What is typed into a browser, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.way {
            Way::Proxy(name) => format!("https://{name}"),
            Way::Plain => format!("http://{}", self.listen),
            Way::Tls(names) => {
                let name = names.first().map_or("localhost", String::as_str);
                format!("https://{}", self.host(name))
            }
        }
    }

    /// What a browser calls one of our names: with our port, unless it is the usual one.
    fn host(&self, name: &str) -> String {
        let name = match name.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => name.to_owned(),
        };
        match self.listen.port() {
            443 => name,
            port => format!("{name}:{port}"),
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

    /// Whether browsers are on this machine.
    pub(crate) fn is_here(&self) -> bool {
        self.way == Way::Plain
    }

    /// Whether browsers reach us through TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.way != Way::Plain
    }

    /// The origin that a request with this `Host` has; `None` when the name is not ours.
    pub(crate) fn origin(&self, host: &str) -> Option<String> {
        match &self.way {
            Way::Plain => {}
            Way::Proxy(name) => {
                return host
                    .eq_ignore_ascii_case(name)
                    .then(|| format!("https://{name}"));
            }
            Way::Tls(names) => {
                let mut hosts = names.iter().map(|name| self.host(name));
                return hosts
                    .find(|ours| host.eq_ignore_ascii_case(ours))
                    .map(|ours| format!("https://{ours}"));
            }
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

    #[test]
    fn through_our_own_tls_the_names_of_the_certificate_are_ours() {
        let open = listen("0.0.0.0:7848");
        let names = ["NAS.example".to_owned(), "fd00::1".to_owned()];
        assert_eq!(
            Address::with_tls(open, &names, false),
            Err(BadAddress::NoPassword(open))
        );
        let address = Address::with_tls(open, &names, true).unwrap();
        assert!(address.is_secure());
        assert_eq!(address.url(), "https://nas.example:7848");
        for (host, origin) in [
            ("nas.EXAMPLE:7848", Some("https://nas.example:7848")),
            ("[fd00::1]:7848", Some("https://[fd00::1]:7848")),
            ("nas.example", None),
            ("0.0.0.0:7848", None),
            ("evil.example:7848", None),
        ] {
            assert_eq!(address.origin(host).as_deref(), origin, "{host}");
        }
        let usual = Address::with_tls(listen("0.0.0.0:443"), &names, true).unwrap();
        assert_eq!(usual.url(), "https://nas.example");
        assert!(usual.origin("nas.example").is_some());
        // On this machine alone nobody else comes.
        assert!(Address::with_tls(listen("127.0.0.1:7848"), &[], false).is_ok());
        for bad in ["", "a b", "https://x", "x:1"] {
            let names = [bad.to_owned()];
            assert!(Address::with_tls(open, &names, true).is_err(), "{bad}");
        }
    }
}
