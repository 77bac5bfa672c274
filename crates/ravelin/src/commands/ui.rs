//! `ravelin ui`

use std::env;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine::Machine;
use engine::secret::Reference;
use engine::timer::Tools;
use web::{Address, BadTls, Page, Setup, Tls};

use super::Ended;
use crate::cli::Ui;
use crate::exit::Exit;
use crate::output::Output;

/// Serves the page until it is interrupted. It needs no configuration: the page makes a first one.
pub(crate) fn run(
    arguments: &Ui,
    config: Option<&Path>,
    machine: Machine,
    output: Output,
) -> Result<Exit, Ended> {
    if let Some(file) = &arguments.password_file {
        let file = std::path::absolute(file)?;
        let secret = machine.keeper().fetch(&Reference::File(file));
        let secret = secret.map_err(io::Error::other)?;
        web::set_password(secret.expose(), &machine)?;
    }
    let config_file = match config {
        Some(file) => std::path::absolute(file)?,
        None => machine.places.config_file(),
    };
    let in_use = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => io::Error::other(format!(
            "{} is in use, by another `ravelin ui` perhaps: end that one, or name another port with --listen",
            arguments.listen
        )),
        _ => error,
    };
    let listener = TcpListener::bind(arguments.listen).map_err(in_use)?;
    let listen = listener.local_addr()?;
    let has_password = web::has_password(&machine);
    let tls = match tls(arguments, listen.ip(), &machine) {
        Ok(tls) => tls,
        Err(error) => {
            let why = std::error::Error::source(&error);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            output.say(&format!("error: {error}{why}"));
            return Ok(Exit::Usage);
        }
    };
    let address = match &tls {
        Some((_, names)) => Address::with_tls(listen, names, has_password),
        None => Address::new(listen, arguments.proxy.as_deref(), has_password),
    };
    let address = match address {
        Ok(address) => address,
        Err(error) => {
            output.say(&format!("error: {error}"));
            return Ok(Exit::Usage);
        }
    };
    // Without it, `drop share` has to be told where the page is.
    let _ = address.remember(&machine);
    let state = machine.places.state.join("page");
    let page = Arc::new(Page::new(Setup {
        machine,
        config_file,
        program: env::current_exe()?,
        tools: Tools::default(),
        address,
        tell: Box::new(move |link| output.say(&format!("sign in once: {link}"))),
    }));
    let link = page.invite()?;
    output.say(&format!("sign in once: {link}"));
    match &tls {
        Some((tls, _)) if arguments.certificate.is_none() => output.say(&format!(
            "the browser will warn of a certificate that it does not know: go on only if its SHA-256 fingerprint is {}",
            tls.fingerprint()
        )),
        Some(_) => output.tell("a renewed certificate is taken as soon as its files are replaced"),
        None => {}
    }
    output.tell("Ctrl-C ends the page");
    if !arguments.no_browser && has_desktop() {
        // Without a browser there still is the link.
        let _ = open(&link, &state);
    }
    match tls {
        Some((tls, _)) => web::serve_tls(listener, &page, tls)?,
        None => web::serve(listener, &page)?,
    }
    Ok(Exit::Good)
}

/// What TLS is spoken with, if it is, and the names that are served then: those that were given, else
/// those of a given certificate, else those of this machine.
fn tls(
    arguments: &Ui,
    listen: IpAddr,
    machine: &Machine,
) -> Result<Option<(Tls, Vec<String>)>, BadTls> {
    let mut names = arguments.name.clone();
    if let (Some(certificate), Some(key)) = (&arguments.certificate, &arguments.key) {
        let tls = Tls::from_files(certificate, key, machine)?;
        if names.is_empty() {
            names = tls.names();
        }
        if names.is_empty() {
            names = self::names(listen, &machine.host);
        }
        return Ok(Some((tls, names)));
    }
    if !arguments.tls {
        return Ok(None);
    }
    if names.is_empty() {
        names = self::names(listen, &machine.host);
    }
    Ok(Some((Tls::self_made(&names, machine)?, names)))
}

/// What this machine is called by browsers: where it listens at all its addresses, each of them that
/// others can reach, then its name; else that address.
fn names(listen: IpAddr, host: &str) -> Vec<String> {
    let mut names = Vec::new();
    if listen.is_unspecified() {
        let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
        for address in interfaces.filter_map(|interface| interface.address) {
            if let Some(address) = address.as_sockaddr_in() {
                names.push(IpAddr::V4(address.ip()));
            } else if let Some(address) = address.as_sockaddr_in6().filter(|_| listen.is_ipv6()) {
                names.push(IpAddr::V6(address.ip()));
            }
        }
        // Addresses of the link alone need the name of an interface, which no browser takes.
        names.retain(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()));
        names.sort_by_key(|ip| (ip.is_loopback(), *ip));
        names.dedup();
    } else {
        names.push(listen);
    }
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    names.extend(host.bytes().all(is_name).then(|| host.to_owned()));
    names.push("localhost".to_owned());
    names
}

fn has_desktop() -> bool {
    ["WAYLAND_DISPLAY", "DISPLAY"]
        .iter()
        .any(|name| env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Opens the link in a browser, by way of a file that only we can read: the arguments of a program
/// can be read by everybody on this machine.
fn open(link: &str, state: &Path) -> io::Result<()> {
    use io::Write as _;
    engine::create_private_folder(state)?;
    let file: PathBuf = state.join("open.html");
    let _ = std::fs::remove_file(&file);
    let mut opened = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&file)?;
    // A link of ours has no sign that HTML would take for its own.
    write!(
        opened,
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0;url={link}\">"
    )?;
    let mut child = Command::new("xdg-open")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}
