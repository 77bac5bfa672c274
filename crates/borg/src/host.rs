//! Who we are, as the locks of a repository name it.
//!
//! A lock whose process is gone may be removed, but only by someone who can tell: a program on
//! the same machine. So all programs on it must agree on its name, the stock program included,
//! which takes the fully qualified domain name and the number of a network card.

use std::fs;

use nix::ifaddrs::getifaddrs;

/// The name of this machine in locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    id: String,
}

impl Host {
    /// A machine with a name that a person has chosen, as `BORG_HOST_ID` does.
    #[must_use]
    pub fn named(id: impl Into<String>) -> Self {
        Self { id: id.into() }
    }

    /// This machine, named as the stock program names it: `fqdn@number`.
    ///
    /// The domain name may be looked up in the network.
    #[must_use]
    pub fn this_machine() -> Self {
        let id = format!("{}@{}", domain_name(), node_number());
        Self { id }
    }

    /// The name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// The canonical name that the resolver gives for our host name, or that one itself.
fn domain_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let hints = dns_lookup::AddrInfoHints {
        socktype: dns_lookup::SockType::DGram.into(),
        // AI_CANONNAME, the same number on all systems.
        flags: 2,
        ..dns_lookup::AddrInfoHints::default()
    };
    let canonical = dns_lookup::getaddrinfo(Some(name.trim()), None, Some(hints))
        .ok()
        .and_then(|mut addresses| {
            addresses.find_map(|address| address.ok()?.canonname.filter(|name| !name.is_empty()))
        });
    canonical.unwrap_or(name)
}

/// The hardware address of the first network interface that speaks IPv4, as a number.
///
/// That is what `libuuid`, and so Python's `uuid.getnode`, takes. A machine without one has a
/// random number each time there; here it is one that stays the same for the machine, so that at
/// least our own locks are known again.
fn node_number() -> u64 {
    network_node().unwrap_or_else(machine_node)
}

fn network_node() -> Option<u64> {
    let interfaces: Vec<_> = getifaddrs().ok()?.collect();
    let speaks_ipv4 = |name: &str| {
        interfaces.iter().any(|interface| {
            let address = interface.address.as_ref();
            interface.interface_name == name
                && address.is_some_and(|address| address.as_sockaddr_in().is_some())
        })
    };
    interfaces.iter().find_map(|interface| {
        let hardware = interface.address.as_ref()?.as_link_addr()?.addr()?;
        (hardware != [0; 6] && speaks_ipv4(&interface.interface_name)).then(|| number(hardware))
    })
}

fn machine_node() -> u64 {
    let machine_id = fs::read("/etc/machine-id").unwrap_or_default();
    let sum = xxhash_rust::xxh64::xxh64(&machine_id, 0).to_be_bytes();
    let [_, _, node @ ..] = sum;
    // The bit that no network card has.
    number(node) | 1 << 40
}

fn number(address: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = address;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_number_of_48_bits() {
        assert_eq!(number([0x02, 0xfc, 0, 0, 0, 1]), 0x02fc_0000_0001);
        assert!(machine_node() < 1 << 48);
    }

    #[test]
    fn the_machine_has_the_same_name_each_time() {
        let host = Host::this_machine();
        assert_eq!(host, Host::this_machine());
        assert!(host.id().contains('@'));
    }
}
