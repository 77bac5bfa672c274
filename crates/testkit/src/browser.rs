//! Chromium without a window, driven by Chromium's own `chromedriver`: the W3C's WebDriver protocol,
//! which is JSON over HTTP.
//!
//! A browser counts what a person would do, clicks and fields, so that a test can say how many it
//! takes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::require;
use crate::skip::is_root;

/// How long something is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name of an element in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
    clicks: Cell<usize>,
    fields: Cell<usize>,
    _profile: TempDir,
}

impl Browser {
    /// Starts one. Debian's `chromium` and `chromium-driver` are installed where that is possible.
    ///
    /// Where they cannot be had the test is said to be skipped and nothing is given back.
    ///
    /// # Panics
    ///
    /// In CI, when they cannot be had; anywhere, when they do not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let chromium = require("chromium")?;
        let chromedriver = require("chromedriver")?;
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port(&mut driver);
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--lang=en".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if is_root() {
            arguments.push("--no-sandbox".to_owned());
        }
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE * 2))
            .build()
            .into();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            agent,
            clicks: Cell::new(0),
            fields: Cell::new(0),
            _profile: profile,
        };
        let begun = browser.post("", &wanted);
        let id = begun["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        Some(browser)
    }

    fn answer(&self, response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let text = response.unwrap().body_mut().read_to_string().unwrap();
        let mut answer: Value = serde_json::from_str(&text).unwrap();
        answer["value"].take()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = self.agent.post(format!("{}{path}", self.session));
        let request = request.header("content-type", "application/json");
        self.answer(request.send(body.to_string()))
    }

    fn get(&self, path: &str) -> Value {
        self.answer(self.agent.get(format!("{}{path}", self.session)).call())
    }

    /// Calls a function of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.post("/goog/cdp/execute", &body)
    }

    /// Opens an address and waits until it is loaded.
    pub fn open(&self, address: &str) {
        self.post("/url", &json!({ "url": address }));
    }

    /// Where the browser is.
    #[must_use]
    pub fn address(&self) -> String {
        self.get("/url").as_str().unwrap_or_default().to_owned()
    }

    /// Runs a script in the page: the body of a function.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Runs a script in the page that calls its last argument when it is done.
    pub fn run_async(&self, script: &str) -> Value {
        self.post("/execute/async", &json!({"script": script, "args": []}))
    }

    fn element(&self, css: &str) -> Option<String> {
        let found = self.post("/element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().map(str::to_owned)
    }

    /// Waits until something is so.
    ///
    /// # Panics
    ///
    /// When it is not, for a minute.
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            assert!(
                since.elapsed() < PATIENCE,
                "waited for {what} at {}:\n{}",
                self.address(),
                self.text("body")
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks as a person does, on what can be seen and is in nobody's way.
    ///
    /// # Panics
    ///
    /// When there is no such element, or something covers it.
    pub fn click(&self, css: &str) {
        self.wait(css, |browser| browser.element(css).is_some());
        let element = self.element(css).unwrap();
        let answer = self.post(&format!("/element/{element}/click"), &json!({}));
        assert!(answer["error"].is_null(), "{css}: {answer}");
        self.clicks.set(self.clicks.get() + 1);
    }

    /// Clicks on the link or button with these words.
    pub fn click_on(&self, words: &str) {
        let script = format!(
            "for (const e of document.querySelectorAll('[data-clicked]')) delete e.dataset.clicked;\
             const all = [...document.querySelectorAll('a,button,summary,label')];\
             const found = all.find(e => e.innerText.trim().startsWith({words:?}) && e.checkVisibility());\
             if (found) found.dataset.clicked = ''; return !!found;"
        );
        self.wait(words, |browser| browser.run(&script) == Value::Bool(true));
        self.click("[data-clicked]");
    }

    /// Types into a field in place of what is in it.
    pub fn fill(&self, css: &str, text: &str) {
        self.wait(css, |browser| browser.element(css).is_some());
        let element = self.element(css).unwrap();
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.keys(css, text);
        self.fields.set(self.fields.get() + 1);
    }

    /// Presses keys in an element; `\u{e007}` is Enter, `\u{e004}` Tab.
    pub fn keys(&self, css: &str, keys: &str) {
        let element = self.element(css).unwrap();
        let answer = self.post(&format!("/element/{element}/value"), &json!({"text": keys}));
        assert!(answer["error"].is_null(), "{css}: {answer}");
    }

    /// Presses keys wherever the keyboard is.
    pub fn press(&self, keys: &str) {
        let active = self.get("/element/active");
        let element = active[ELEMENT].as_str().unwrap();
        let answer = self.post(&format!("/element/{element}/value"), &json!({"text": keys}));
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// The text of an element as it can be seen; empty when there is none.
    #[must_use]
    pub fn text(&self, css: &str) -> String {
        let script = format!("return document.querySelector({css:?})?.innerText ?? ''");
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// How many clicks, and how many fields that were typed into, since the last time that this was
    /// asked.
    #[must_use]
    pub fn efforts(&self) -> (usize, usize) {
        (self.clicks.replace(0), self.fields.replace(0))
    }

    /// What the browser complained about since the last time that this was asked: scripts that
    /// failed, policies that were broken, files that are not there.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.post("/se/log", &json!({"type": "browser"}));
        let lines = log.as_array().cloned().unwrap_or_default();
        let is_bad = |line: &Value| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING"));
        let lines = lines.into_iter().filter(is_bad);
        lines
            .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// The light and the size that a page is shown in.
    pub fn look(&self, is_dark: bool, width: u32, height: u32) {
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        );
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
    }

    /// What a screen reader is told of the page, as the browser computes it: a line for each
    /// landmark, heading and thing to act with, with its role, its name and its state, in the place
    /// where it stands. Running text is left out.
    #[must_use]
    pub fn outline(&self) -> String {
        let answer = self.devtools("Accessibility.getFullAXTree", &json!({}));
        let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
        let by_id: BTreeMap<&str, &Value> = nodes
            .iter()
            .filter_map(|node| Some((node["nodeId"].as_str()?, node)))
            .collect();
        let mut outline = String::new();
        if let Some(root) = nodes.first() {
            tell(root, &by_id, 0, &mut outline);
        }
        outline
    }

    /// Whether pages may run scripts.
    pub fn scripts(&self, allowed: bool) {
        let value = json!({ "value": !allowed });
        self.devtools("Emulation.setScriptExecutionDisabled", &value);
    }

    /// Keeps a picture of the whole page under `target/screenshots`.
    ///
    /// # Panics
    ///
    /// When it cannot be written.
    pub fn picture(&self, name: &str) -> PathBuf {
        let parameters = json!({"format": "png", "captureBeyondViewport": true});
        let answer = self.devtools("Page.captureScreenshot", &parameters);
        let bytes = STANDARD
            .decode(answer["data"].as_str().unwrap_or_default())
            .unwrap();
        let folder = screenshots();
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}.png"));
        fs::write(&file, bytes).unwrap();
        file
    }
}

/// The roles that [`Browser::outline`] tells.
const TOLD: [&str; 33] = [
    "RootWebArea",
    "banner",
    "navigation",
    "main",
    "complementary",
    "contentinfo",
    "region",
    "search",
    "form",
    "heading",
    "link",
    "button",
    "textbox",
    "searchbox",
    "combobox",
    "listbox",
    "option",
    "checkbox",
    "radio",
    "radiogroup",
    "spinbutton",
    "switch",
    "slider",
    "group",
    "table",
    "columnheader",
    "alert",
    "status",
    "log",
    "progressbar",
    "dialog",
    "DisclosureTriangle",
    "DateTime",
];

/// The states that are told when they are so.
const STATES: [&str; 6] = [
    "level", "checked", "expanded", "required", "disabled", "live",
];

fn tell(node: &Value, by_id: &BTreeMap<&str, &Value>, depth: usize, outline: &mut String) {
    let role = node["role"]["value"].as_str().unwrap_or_default();
    let is_told = node["ignored"].as_bool() != Some(true) && TOLD.contains(&role);
    if is_told {
        let name = node["name"]["value"].as_str().unwrap_or_default();
        outline.push_str(&format!("{}{role} {name:?}", "  ".repeat(depth)));
        for property in node["properties"].as_array().into_iter().flatten() {
            let state = property["name"].as_str().unwrap_or_default();
            let value = &property["value"]["value"];
            let is_so = !matches!(value, Value::Bool(false) | Value::Null) && value != "false";
            if STATES.contains(&state) && is_so {
                outline.push_str(&format!(" {state}={value}"));
            }
        }
        outline.push('\n');
    }
    let below = node["childIds"].as_array().into_iter().flatten();
    for child in below.filter_map(|id| by_id.get(id.as_str()?)) {
        tell(child, by_id, depth + usize::from(is_told), outline);
    }
}

fn screenshots() -> PathBuf {
    let stock = crate::stock::directory();
    let target = stock.parent().map(Path::to_owned).unwrap_or(stock);
    target.join("screenshots")
}

/// The port that the driver says it has taken.
fn port(driver: &mut Child) -> u16 {
    let output = driver.stdout.take().unwrap();
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let port = lines
        .find_map(|line| {
            let rest = line.split_once("successfully on port ")?.1;
            rest.trim_end_matches('.').parse().ok()
        })
        .unwrap();
    // It goes on speaking, and must not wait for a reader.
    thread::spawn(move || for _ in lines {});
    port
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium, and then its driver.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
