//! What a person sees and does, in a real browser.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::http::StatusCode;
use ravelin_web::{Address, serve};
use serde_json::json;
use testkit::Browser;

use crate::visitor::{HOST, House};

/// A house whose page is served to browsers.
pub(crate) struct Served {
    pub(crate) house: House,
    server: Option<JoinHandle<std::io::Result<()>>>,
}

impl Served {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::new(listener.local_addr().unwrap(), None, false).unwrap();
        let house = House::at(address);
        let page = Arc::clone(&house.page);
        let server = std::thread::spawn(move || serve(listener, &page));
        Self {
            house,
            server: Some(server),
        }
    }

    /// The address of a screen.
    pub(crate) fn at(&self, path: &str) -> String {
        let link = self.house.page.invite().unwrap();
        let end = link.find("/sign-in").unwrap();
        format!("{}{path}", &link[..end])
    }

    /// Follows a link as the terminal prints it.
    pub(crate) fn enter(&self, browser: &Browser) {
        browser.open(&self.house.page.invite().unwrap());
        browser.wait("the sign-in", |browser| {
            !browser.address().contains("/sign-in")
        });
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.house.page.machine().stop.request();
        let ended = self.server.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap().unwrap();
        }
    }
}

/// Goes through the first visit with nothing but what is on the screen.
fn first_backup(served: &Served, browser: &Browser) {
    served.house.write("Documents/report.txt", "the report");
    served.house.write("Documents/letters/ann.txt", "dear Ann");
    served
        .house
        .write("Documents/photos/sea.jpg", &"the sea ".repeat(1000));
    served.enter(browser);
    browser.wait("the three questions", |browser| {
        browser.address().ends_with("/welcome")
    });
    browser.click_on("Back up now");
    browser.wait("the first backup", |browser| {
        browser.text("h1").contains("one file restored as proof")
    });
}

#[test]
fn a_first_backup_takes_few_clicks_and_a_deleted_file_three() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    first_backup(&served, &browser);
    let (clicks, fields) = browser.efforts();
    assert!(
        clicks <= 6 && fields <= 3,
        "{clicks} clicks, {fields} fields"
    );
    let tab = served.house.folder.path().join("tab");
    assert!(tab.exists(), "it must be automatic afterwards");

    let report = served.house.home().join("Documents/report.txt");
    std::fs::remove_file(&report).unwrap();
    browser.open(&served.at("/"));
    browser.click_on("Restore");
    browser.fill("input[type=search]", "report");
    browser.click_on("Search");
    browser.click_on("Put back");
    browser.wait("the file", |browser| {
        browser.text("h1").contains("Your files are back")
    });
    assert_eq!(std::fs::read_to_string(&report).unwrap(), "the report");
    let (clicks, fields) = browser.efforts();
    assert!(
        clicks <= 3 && fields <= 1,
        "{clicks} clicks, {fields} fields"
    );
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn everything_works_without_scripts() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    served.house.write("Documents/report.txt", "the report");
    browser.scripts(false);
    browser.open(&served.house.page.invite().unwrap());
    browser.click("main button");
    browser.wait("the three questions", |browser| {
        browser.address().ends_with("/welcome")
    });
    browser.click("main button.main");
    // Nothing but the page itself loads it again.
    browser.wait("the first backup", |browser| {
        browser.address().contains("/job")
    });
    let done = served.house.visitor();
    browser.wait("its end", |_| {
        !done.get("/job?id=1").text().contains("hx-trigger")
    });
    let report = served.house.home().join("Documents/report.txt");
    std::fs::remove_file(&report).unwrap();
    browser.open(&served.at("/restore"));
    browser.keys("input[type=search]", "report\u{e007}");
    browser.wait("the search", |browser| {
        browser.address().contains("q=report")
    });
    browser.click("ul.rows button.main");
    browser.wait("the file", |_| report.exists());
}

/// What no screen may have, by the rules of WCAG 2.2 and of good practice.
fn faults(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(&format!("{axe}; return 1"));
    let found = browser.run_async(
        "const done = arguments[arguments.length - 1];\
         axe.run(document).then(r => done(r.violations.map(v => \
         v.id + ': ' + v.nodes.map(n => n.target.join(' ')).join(', '))))",
    );
    let found = found.as_array().unwrap().iter();
    found
        .map(|fault| fault.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_screen_can_be_used_by_everybody_in_both_lights_and_widths() {
    let (Some(browser), Some(axe)) = (Browser::start(), testkit::axe()) else {
        return;
    };
    let served = Served::new();
    browser.open(&served.at("/sign-in"));
    let mut wrong = check(&browser, axe, "sign-in");
    served.enter(&browser);
    wrong.extend(check(&browser, axe, "welcome"));
    first_backup(&served, &browser);
    wrong.extend(check(&browser, axe, "first-backup"));
    let folder = served.house.folder.path().display().to_string();
    // A second layer that is not well, and what could not be read.
    let text = std::fs::read_to_string(served.house.config_file()).unwrap();
    served.house.configure(&format!(
        "{text}\n[layer.offsite]\nkind = \"borg\"\nencryption = \"none\"\nstore = \"{folder}/away/store\"\n\
         schedule = \"hourly\"\nkeep = {{ daily = 7, weekly = 4 }}\n"
    ));
    browser.open(&served.at("/"));
    browser.click_on("Back up now");
    browser.wait("the second backup", |browser| {
        browser.text("h1").contains("Some of it")
    });
    wrong.extend(check(&browser, axe, "partly"));
    std::fs::remove_file(served.house.home().join("Documents/report.txt")).unwrap();
    for (name, path) in [
        ("overview", "/"),
        ("restore", "/restore"),
        ("restore-found", "/restore?q=.txt"),
        ("browse", "/restore/browse?layer=disk"),
        ("sources", "/sources?explain=~/.cache/x"),
        ("preview", "/sources/preview"),
        ("layers", "/layers"),
        ("layer-add", "/layers/add"),
        ("activity", "/activity"),
        ("sheet", "/sheet"),
        ("settings", "/settings"),
        ("nothing", "/nowhere"),
    ] {
        browser.open(&served.at(path));
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)");
        wrong.extend(check(&browser, axe, name));
    }
    browser.open(&served.at("/sources"));
    browser.keys("textarea[name=exclude]", "~/Documents/photos");
    browser.wait("what the rule would leave out", |browser| {
        browser.text("#live-0").contains("photos")
    });
    wrong.extend(check(&browser, axe, "sources-live"));
    browser.open(&served.at("/restore?q=report"));
    browser.click("ul.rows a");
    wrong.extend(check(&browser, axe, "versions"));
    browser.click_on("Other ways");
    wrong.extend(check(&browser, axe, "plan"));
    browser.open(&served.at("/restore?q=report"));
    browser.click_on("Add to the basket");
    wrong.extend(check(&browser, axe, "picked"));
    browser.click_on("Basket: 1 thing");
    wrong.extend(check(&browser, axe, "basket"));
    browser.click_on("See what it would do");
    browser.click("form[action='/restore'] button.main");
    browser.wait("the restore", |browser| {
        browser.text("h1").contains("Your files are back")
    });
    wrong.extend(check(&browser, axe, "restored"));
    browser.click_on("Undo");
    browser.wait("the undo", |browser| browser.text("h1").contains("Undone"));
    wrong.extend(check(&browser, axe, "undone"));
    browser.open(&served.at("/layers/sign-in?place=dropbox%3A%2FBackups&kind=drop"));
    wrong.extend(check(&browser, axe, "cloud"));
    served
        .house
        .visitor()
        .post("/settings/language", &[("language", "de")]);
    for (name, path) in [
        ("overview-de", "/"),
        ("layers-de", "/layers"),
        ("sources-de", "/sources"),
    ] {
        browser.open(&served.at(path));
        wrong.extend(check(&browser, axe, name));
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn no_command_is_cut_on_paper() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    browser.open(&served.at("/sign-in"));
    served.enter(&browser);
    first_backup(&served, &browser);
    browser.open(&served.at("/sheet"));
    let cut = |media: &str| {
        browser.devtools("Emulation.setEmulatedMedia", &json!({ "media": media }));
        let cut = browser.run(
            "return [...document.querySelectorAll('.sheet pre, .sheet table')]\
             .filter(it => it.scrollWidth > it.clientWidth).length",
        );
        cut.as_u64().unwrap()
    };
    // As wide as paper is between its margins. On a screen, what is too wide is scrolled.
    browser.look(false, 600, 900);
    assert_ne!(cut("screen"), 0);
    assert_eq!(cut("print"), 0);
}

/// A screen in both lights, on a desk and on a phone: pictures are kept, and what is wrong is told.
pub(crate) fn check(browser: &Browser, axe: &str, name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (kind, is_dark, width, height) in [
        ("light", false, 1280, 900),
        ("dark", true, 1280, 900),
        ("phone", false, 390, 844),
        ("phone-dark", true, 390, 844),
    ] {
        browser.look(is_dark, width, height);
        browser.picture(&format!("{name}-{kind}"));
        if kind == "light" {
            wrong.extend(crate::outline::differs(browser, name));
        }
        // One of each light and of each width; the rest are pictures.
        if matches!(kind, "light" | "phone-dark") {
            let faults = faults(browser, axe);
            wrong.extend(
                faults
                    .iter()
                    .map(|fault| format!("{name}, {kind}: {fault}")),
            );
        }
        // Nobody scrolls a page sideways.
        let wide = browser.run("return document.documentElement.scrollWidth - innerWidth");
        if wide.as_i64().unwrap_or(0) > 0 {
            wrong.push(format!("{name}, {kind}: {wide} too wide"));
        }
    }
    let complaints = browser.complaints();
    let expected = ["status of 404", "status of 401"];
    let complaints = complaints
        .iter()
        .filter(|line| !expected.iter().any(|known| line.contains(known)));
    wrong.extend(complaints.map(|line| format!("{name}: {line}")));
    wrong
}

#[test]
fn names_of_files_run_no_scripts() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    let names = [
        "<script>window.evil=1</script>",
        "<img src=x onerror=window.evil=1>",
        "\"><svg onload=window.evil=1>",
        "javascript:window.evil=1",
        "'-window.evil=1-'",
    ];
    for name in names {
        served
            .house
            .write(&format!("Documents/{}", name.replace('/', "\u{2215}")), "x");
    }
    first_backup(&served, &browser);
    for path in [
        "/",
        "/restore?q=evil",
        "/restore/browse?layer=disk",
        "/sources/preview",
        "/activity",
    ] {
        browser.open(&served.at(path));
        assert!(
            browser.run("return window.evil ?? null").is_null(),
            "{path}"
        );
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn the_keyboard_alone_reaches_the_content_and_every_button() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = Served::new();
    served.house.configure_simply();
    served.enter(&browser);
    browser.open(&served.at("/"));
    browser.press("\u{e004}");
    assert_eq!(
        browser.run("return document.activeElement.className"),
        "skip"
    );
    let mut reached = Vec::new();
    for _ in 0..20 {
        browser.press("\u{e004}");
        let words = browser.run("return document.activeElement.innerText");
        reached.push(words.as_str().unwrap_or_default().trim().to_owned());
    }
    for words in ["Overview", "Restore", "Settings", "Back up now"] {
        assert!(
            reached.iter().any(|found| found == words),
            "{words} in {reached:?}"
        );
    }
}

#[test]
fn a_server_that_is_asked_to_end_does_and_serves_only_its_own_name() {
    let served = Served::new();
    let address = served.at("");
    let place = address.strip_prefix("http://").unwrap().to_owned();
    let ask = |host: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&place).unwrap();
        let request = format!("GET /sign-in HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(
        ask(&place).starts_with("HTTP/1.1 401"),
        "the page is served"
    );
    let wrong = StatusCode::MISDIRECTED_REQUEST.as_u16();
    assert!(ask("evil.example").starts_with(&format!("HTTP/1.1 {wrong}")));
    assert!(ask(HOST).starts_with(&format!("HTTP/1.1 {wrong}")));
}
