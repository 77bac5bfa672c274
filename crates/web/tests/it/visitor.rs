//! A person at a machine of their own, and what they send to the page.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use engine::timer::Tools;
use engine::{Machine, Places, Surroundings};
use jiff::SignedDuration;
use ravelin_web::{Address, Page, Setup, app};
use tempfile::TempDir;
use tower::ServiceExt;

/// The address under which the page is asked for.
pub(crate) const HOST: &str = "127.0.0.1:7848";

/// A machine with a home, a crontab of its own, and the page.
pub(crate) struct House {
    pub(crate) folder: TempDir,
    pub(crate) page: Arc<Page>,
    pub(crate) links: Arc<Mutex<Vec<String>>>,
    clock: Arc<Clock>,
    /// The name under which it is asked.
    host: String,
}

/// The clock of a house.
struct Clock {
    /// Seconds that it is ahead.
    ahead: AtomicI64,
    /// How often it is still asked before whoever asks panics, once.
    sound: AtomicU64,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Says what must be on a good page.
    #[track_caller]
    pub(crate) fn must_say(&self, text: &str) -> &Self {
        let page = self.text();
        assert!(
            page.contains(text),
            "{} without `{text}`:\n{page}",
            self.status
        );
        self
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self::at(Address::new(HOST.parse().unwrap(), None, false).unwrap())
    }

    pub(crate) fn at(address: Address) -> Self {
        Self::with(address, Vec::new())
    }

    /// One in which variables are set.
    pub(crate) fn with_variables(variables: Vec<(&'static str, String)>) -> Self {
        let address = Address::new(HOST.parse().unwrap(), None, false).unwrap();
        Self::with(address, variables)
    }

    fn with(address: Address, variables: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = address.url().split("//").nth(1).unwrap().to_owned();
        let links: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&links);
        let clock = Arc::new(Clock {
            ahead: AtomicI64::new(0),
            sound: AtomicU64::new(u64::MAX),
        });
        let page = Arc::new(Page::new(Setup {
            config_file: folder.path().join("home/.config/ravelin/ravelin.toml"),
            program: "/usr/bin/ravelin".into(),
            tools: tools(&folder),
            address,
            tell: Box::new(move |link| told.lock().unwrap().push(link.to_owned())),
            machine: machine(&folder, Arc::clone(&clock), variables),
        }));
        fs::create_dir_all(folder.path().join("home")).unwrap();
        Self {
            folder,
            page,
            links,
            clock,
            host,
        }
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, time: SignedDuration) {
        let ahead = &self.clock.ahead;
        ahead.fetch_add(time.as_secs(), Ordering::Relaxed);
    }

    /// Has whoever asks for the time after so many others panic; the next ones get it.
    pub(crate) fn break_clock_after(&self, asked: u64) {
        self.clock.sound.store(asked, Ordering::Relaxed);
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.home().join(".config/ravelin/ravelin.toml")
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, text: &str) {
        self.write(".config/ravelin/ravelin.toml", text);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.config_file(), private).unwrap();
    }

    /// A configuration with one small layer without encryption, as a test likes it.
    pub(crate) fn configure_simply(&self) {
        self.write("Documents/report.txt", "a report");
        let folder = self.folder.path().display().to_string();
        self.configure(&format!(
            "# Mine.\n[[source]]\npaths = [\"~/Documents\"] # what counts\n\n[layer.disk]\nkind = \"borg\"\n\
             encryption = \"none\"\nstore = \"{folder}/store\"\nschedule = \"daily\" # enough\n"
        ));
    }

    /// Somebody who is not signed in.
    pub(crate) fn stranger(&self) -> Visitor {
        Visitor {
            router: app(Arc::clone(&self.page)),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            host: self.host.clone(),
            cookie: None,
            token: String::new(),
        }
    }

    /// Somebody who has followed a link.
    pub(crate) fn visitor(&self) -> Visitor {
        let mut visitor = self.stranger();
        let link = self.page.invite().unwrap();
        let secret = link.split("link=").nth(1).unwrap();
        let reply = visitor.post("/sign-in", &[("link", secret)]);
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        let cookie = reply.header("set-cookie").split(';').next().unwrap();
        visitor.cookie = Some(cookie.to_owned());
        let settings = visitor.get("/settings").text();
        let token = settings.split("name=\"token\" value=\"").nth(1).unwrap();
        visitor.token = token.split('"').next().unwrap().to_owned();
        visitor
    }
}

fn machine(folder: &TempDir, clock: Arc<Clock>, variables: Vec<(&'static str, String)>) -> Machine {
    let home = folder.path().join("home");
    Machine {
        places: Places::from_environment(&home, |_| None),
        host: "nas".to_owned(),
        user: "ada".to_owned(),
        variable: Arc::new(move |name: &str| match name {
            "HOME" => Some(home.clone().into_os_string()),
            "PATH" => std::env::var_os("PATH"),
            _ => {
                let mut set = variables.iter();
                let found = set.find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            }
        }),
        clock: Arc::new(move || {
            let next = |sound: u64| match sound {
                u64::MAX => None,
                sound => Some(sound.checked_sub(1).unwrap_or(u64::MAX)),
            };
            let relaxed = Ordering::Relaxed;
            let asked = clock.sound.fetch_update(relaxed, relaxed, next);
            assert_ne!(asked, Ok(0), "this clock was broken on purpose");
            let ahead = SignedDuration::from_secs(clock.ahead.load(Ordering::Relaxed));
            engine::clock::system() + ahead
        }),
        surroundings: Surroundings {
            on_battery: || false,
            online: || true,
            metered: || false,
        },
        random: engine::random::system,
        stop: Arc::default(),
    }
}

/// Schedulers that leave the machine of the test alone: a crontab in a file, and no systemd.
fn tools(folder: &TempDir) -> Tools {
    let program = |name: &str, script: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let tab = folder.path().join("tab").display().to_string();
    let tab_script = format!(
        "if [ \"$1\" = -l ]; then cat '{tab}' 2>/dev/null || {{ echo 'no crontab for ada' >&2; exit 1; }}\n\
         elif [ \"$1\" = -r ]; then rm -f '{tab}'\nelse cat > '{tab}'; fi"
    );
    Tools {
        crontab: program("crontab", &tab_script),
        systemctl: program("systemctl", "exit 1"),
        loginctl: program("loginctl", "exit 1"),
    }
}

/// One browser.
pub(crate) struct Visitor {
    router: Router,
    runtime: tokio::runtime::Runtime,
    host: String,
    pub(crate) cookie: Option<String>,
    pub(crate) token: String,
}

impl Visitor {
    /// Sends a request as it is.
    pub(crate) fn send(&self, request: Request<Body>) -> Reply {
        let router = self.router.clone();
        self.runtime.block_on(async move {
            let response = router.oneshot(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            Reply {
                status: parts.status,
                headers: parts.headers,
                bytes: bytes.to_vec(),
            }
        })
    }

    /// A request from this page, with the cookie of the session.
    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host);
        if method != "GET" {
            builder = builder
                .header("origin", format!("http://{}", self.host))
                .header("sec-fetch-site", "same-origin");
        }
        if let Some(cookie) = &self.cookie {
            builder = builder.header("cookie", cookie);
        }
        builder
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send(self.request("GET", path).body(Body::empty()).unwrap())
    }

    /// The same in German.
    pub(crate) fn get_german(&self, path: &str) -> Reply {
        let request = self.request("GET", path).header("accept-language", "de");
        self.send(request.body(Body::empty()).unwrap())
    }

    /// Sends a form of this session.
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut form = vec![("token", self.token.as_str())];
        form.extend(fields);
        let request = self
            .request("POST", path)
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(encoded(&form))).unwrap())
    }

    /// Sends a form and follows where it leads; a job that begins is waited for.
    #[track_caller]
    pub(crate) fn do_and_wait(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let reply = self.post(path, fields);
        assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
        let place = reply.header("location").to_owned();
        let since = Instant::now();
        loop {
            let reply = self.get(&place);
            if !reply.text().contains("hx-trigger") {
                return reply;
            }
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "{}",
                reply.text()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

/// A form as browsers write it.
pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    let quote = |text: &str| {
        text.bytes()
            .map(|byte| match byte {
                byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                byte => format!("%{byte:02X}"),
            })
            .collect::<String>()
    };
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{}={}", quote(name), quote(value)));
    fields.collect::<Vec<_>>().join("&")
}
