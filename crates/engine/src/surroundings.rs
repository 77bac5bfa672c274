//! What the machine runs on: mains or battery, a network or none.
//!
//! Looked at by functions that are handed in, as the clock is: a test needs no battery. What
//! cannot be found out counts as favourable, so that a machine that hides it still gets backups;
//! that none was made for too long is noticed elsewhere.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::program;

/// How the surroundings of the machine are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Whether the machine lives on its battery.
    pub on_battery: fn() -> bool,
    /// Whether packets have a way out of the machine.
    pub online: fn() -> bool,
    /// Whether the network costs by the byte.
    pub metered: fn() -> bool,
}

impl Surroundings {
    /// What the kernel and NetworkManager say.
    #[must_use]
    pub fn system() -> Self {
        Self {
            on_battery: || on_battery(Path::new("/sys/class/power_supply")),
            online: || {
                let read = |name| fs::read_to_string(Path::new("/proc/net").join(name));
                match (read("route"), read("ipv6_route")) {
                    (Err(_), Err(_)) => true,
                    (v4, v6) => {
                        has_route(&v4.unwrap_or_default()) || has_route_6(&v6.unwrap_or_default())
                    }
                }
            },
            metered,
        }
    }
}

/// A battery is being emptied and no charger is connected.
fn on_battery(supplies: &Path) -> bool {
    let Ok(entries) = fs::read_dir(supplies) else {
        return false;
    };
    let mut discharging = false;
    for entry in entries.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        match read("type").trim() {
            "Battery" => {
                // Mice and headsets have batteries too, but of the scope of a device.
                let of_device = read("scope").trim() == "Device";
                discharging |= !of_device && read("status").trim() == "Discharging";
            }
            _ if read("online").trim() == "1" => return false,
            _ => {}
        }
    }
    discharging
}

/// Whether the kernel's table of IPv4 routes (`/proc/net/route`) has a default route that is up.
fn has_route(table: &str) -> bool {
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let destination = fields.next();
        let flags = fields
            .nth(1)
            .and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let mask = fields.nth(3);
        destination == Some("00000000")
            && mask == Some("00000000")
            && flags.is_some_and(|flags| flags & 1 != 0)
    })
}

/// The same for IPv6 (`/proc/net/ipv6_route`), where `lo` holds the route that rejects.
fn has_route_6(table: &str) -> bool {
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [destination, length, .., flags, interface] = fields.as_slice() else {
            return false;
        };
        let up = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & 1 != 0);
        destination.bytes().all(|digit| digit == b'0')
            && *length == "00"
            && *interface != "lo"
            && up
    })
}

/// What NetworkManager says of any connected device; `false` where it is not in charge.
fn metered() -> bool {
    let mut command = Command::new("nmcli");
    command.args([
        "--get-values",
        "GENERAL.STATE,GENERAL.METERED",
        "device",
        "show",
    ]);
    let answer = program::run(&mut command, b"", Duration::from_secs(5));
    answer.is_ok_and(|answer| says_metered(&String::from_utf8_lossy(&answer.stdout)))
}

/// Devices are told apart by empty lines; state 100 is connected.
fn says_metered(answer: &str) -> bool {
    answer.split("\n\n").any(|device| {
        let mut lines = device.lines();
        let connected = lines.next().is_some_and(|state| state.starts_with("100"));
        connected
            && lines
                .next()
                .is_some_and(|metered| metered.starts_with("yes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battery_counts_when_it_is_emptied_and_nothing_charges_it() {
        let folder = tempfile::tempdir().unwrap();
        let supply = |name: &str, files: &[(&str, &str)]| {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).unwrap();
            for (file, content) in files {
                fs::write(path.join(file), format!("{content}\n")).unwrap();
            }
        };
        assert!(!on_battery(Path::new("/nonexistent")));
        supply(
            "mouse",
            &[
                ("type", "Battery"),
                ("scope", "Device"),
                ("status", "Discharging"),
            ],
        );
        assert!(!on_battery(folder.path()));
        supply("BAT0", &[("type", "Battery"), ("status", "Discharging")]);
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        assert!(on_battery(folder.path()));
        supply("AC", &[("type", "Mains"), ("online", "1")]);
        assert!(!on_battery(folder.path()));
        supply("AC", &[("type", "Mains"), ("online", "0")]);
        supply("BAT0", &[("type", "Battery"), ("status", "Full")]);
        assert!(!on_battery(folder.path()));
    }

    #[test]
    fn a_way_out_is_a_default_route_that_is_up() {
        let head =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let local = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert!(has_route(&format!("{head}{local}{default}")));
        assert!(!has_route(&format!("{head}{local}")));
        assert!(!has_route(&format!(
            "{head}{}",
            default.replace("0003", "0002")
        )));
        let zero = "0".repeat(32);
        let six = |interface: &str| {
            format!(
                "{zero} 00 {zero} 00 fe8{:0>29} 00000400 00000001 00000000 00000003 {interface}\n",
                1
            )
        };
        assert!(has_route_6(&six("wlan0")));
        assert!(!has_route_6(&six("lo")));
        assert!(!has_route_6("short line\n"));
    }

    #[test]
    fn a_metered_network_counts_while_it_is_connected() {
        assert!(says_metered(
            "100 (connected)\nyes (guessed)\n\n100 (connected)\nunknown\n"
        ));
        assert!(!says_metered(
            "30 (disconnected)\nyes\n\n100 (connected)\nno (guessed)\n"
        ));
        assert!(!says_metered(""));
    }
}
