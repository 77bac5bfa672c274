//! The drop folder in a real browser, and what guests see there.

use testkit::Browser;

use crate::browser::{Served, check};

/// A page with an empty drop folder, and somebody who is signed in.
fn served(browser: &Browser) -> Served {
    let served = Served::new();
    served.house.configure_simply();
    let text = std::fs::read_to_string(served.house.config_file()).unwrap();
    let store = served.house.folder.path().join("drop");
    std::fs::create_dir(&store).unwrap();
    served.house.configure(&format!(
        "{text}\n[layer.drop]\nkind = \"drop\"\nstore = \"{}\"\n",
        store.display()
    ));
    served.enter(browser);
    browser.open(&served.at("/drop"));
    served
}

/// Lets go of files over the page, as somebody does with the mouse: names and sizes.
fn let_go(browser: &Browser, files: &[(&str, u64)]) {
    // Not on the page before, nor ahead of the script that takes them.
    browser.wait("the place for files", |browser| {
        browser
            .run("return document.readyState === 'complete' && !!document.querySelector('#file')")
            == true
    });
    let files = serde_json::to_string(files).unwrap();
    browser.run(&format!(
        "const transfer = new DataTransfer();\
         for (const [name, size] of {files}) transfer.items.add(new File(\
           [new Uint8Array(size).fill(65)], name, {{ lastModified: 1800000000000 }}));\
         document.querySelector('main').dispatchEvent(new DragEvent('drop', \
           {{ bubbles: true, cancelable: true, dataTransfer: transfer }}))"
    ));
}

fn wait_for_uploads(browser: &Browser) {
    browser.wait("the upload", |browser| {
        browser.address().contains("told=uploaded")
    });
}

/// Nobody is signed in any more.
fn forget(browser: &Browser) {
    browser.devtools("Network.clearBrowserCookies", &serde_json::json!({}));
}

#[test]
fn files_are_dropped_shared_taken_and_brought_back() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = served(&browser);
    browser.click_on("Make an empty one");
    let_go(&browser, &[("one.txt", 3), ("two.txt", 0)]);
    wait_for_uploads(&browser);
    assert!(browser.text("main").contains("two.txt"));

    // A part that is here already is not sent once more, and one that fails is sent again.
    browser.open(&served.at("/drop?in=photos"));
    let size: u64 = 9 << 20;
    browser.run_async(&format!(
        "const done = arguments[arguments.length - 1];\
         const text = new TextEncoder().encode('photos/sea.jpg\\n{size}\\n1800000000000');\
         crypto.subtle.digest('SHA-256', text).then(async (digest) => {{\
           const id = [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');\
           const token = document.querySelector('form[data-upload]').dataset.token;\
           await fetch(`/drop/part?id=${{id}}&at=0`, {{ method: 'PUT', \
             body: new Uint8Array(4 << 20).fill(65), headers: {{ 'x-ravelin-token': token }} }});\
           const real = window.fetch; let broken = false; sessionStorage.sent = '';\
           window.fetch = (place, options) => {{\
             if (options?.method === 'PUT') {{\
               sessionStorage.sent += new URL(place, location).searchParams.get('at') + ' ';\
               if (!broken) {{ broken = true; return Promise.reject(new TypeError('cut')); }}\
             }}\
             return real(place, options); }};\
           done(1); }})"
    ));
    let_go(&browser, &[("sea.jpg", size)]);
    wait_for_uploads(&browser);
    let part = 4 << 20;
    assert_eq!(
        browser.run("return sessionStorage.sent"),
        format!("{part} {part} {} ", 2 * part)
    );
    let stored = served.house.folder.path().join("drop/photos/sea.jpg");
    assert_eq!(std::fs::read(stored).unwrap(), vec![65; 9 << 20]);

    // Deleted, and back with one click.
    browser.open(&served.at("/drop"));
    browser.click("form[action='/drop/delete'] button");
    browser.wait("the deletion", |browser| {
        browser.address().contains("told=deleted")
    });
    browser.open(&served.at("/drop"));
    let _ = browser.efforts();
    browser.click_on("Bring back");
    browser.wait("the file", |browser| {
        browser.address().contains("told=brought-back")
    });
    let (clicks, _) = browser.efforts();
    assert_eq!(clicks, 1);

    // A link, of which a guest has the address and nothing else.
    browser.click_on("Share");
    browser.fill("#link-password", "open sesame");
    browser.click_on("Make a link");
    browser.wait("the link", |browser| {
        browser.address().contains("told=shared")
    });
    assert!(browser.text("main").contains("Copy"));
    let address = browser.text(".note.good .copied code");
    forget(&browser);
    browser.open(&address);
    assert!(!browser.text("body").contains("Restore"));
    browser.fill("#password", "wrong");
    browser.click_on("Download");
    browser.wait("the refusal", |browser| {
        browser.text("main").contains("The password is wrong")
    });
    let complaints = browser.complaints();
    let expected = ["status of 403", "status of 401"];
    let strange = complaints
        .iter()
        .filter(|line| !expected.iter().any(|known| line.contains(known)));
    assert_eq!(strange.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_drop_folder_works_without_scripts() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = served(&browser);
    browser.click_on("Make an empty one");
    served.house.write("letter.txt", "dear Ann");
    let file = served.house.home().join("letter.txt");
    browser.scripts(false);
    browser.open(&served.at("/drop"));
    browser.keys("#in", "letters/2026");
    browser.keys("#file", file.to_str().unwrap());
    browser.click("form[data-upload] button");
    wait_for_uploads(&browser);
    let stored = served
        .house
        .folder
        .path()
        .join("drop/letters/2026/letter.txt");
    assert_eq!(std::fs::read_to_string(stored).unwrap(), "dear Ann");
    // Guests send files, without scripts as well.
    browser.open(&served.at("/drop/links"));
    browser.keys("#request-title", "Photos");
    browser.click("form[action='/drop/request'] button");
    browser.wait("the request", |browser| {
        browser.address().contains("told=requested")
    });
    let address = browser.text("#requests ~ ul code");
    forget(&browser);
    browser.open(&address);
    browser.keys("#file", file.to_str().unwrap());
    browser.click("main form button");
    browser.wait("the thanks", |browser| {
        browser.text("h1").contains("Thank you")
    });
    let owner = served.house.visitor();
    owner.get("/drop/links").must_say("letter.txt");
}

#[test]
fn what_is_looked_at_is_shown_and_runs_nothing() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let served = served(&browser);
    browser.click_on("Make an empty one");
    let_go(&browser, &[("notes.txt", 5)]);
    wait_for_uploads(&browser);
    let drop = served.house.folder.path().join("drop");
    let text = "<script>window.evil=1;document.title='evil'</script>";
    served.house.write("page.txt", text);
    browser.keys(
        "#file",
        served.house.home().join("page.txt").to_str().unwrap(),
    );
    browser.click_on("Upload");
    browser.wait("the text", |_| drop.join("page.txt").exists());
    let owner = served.house.visitor();
    owner.post(
        "/drop/share",
        &[("path", "page.txt"), ("days", "1"), ("look", "yes")],
    );
    let page = owner.get("/drop/links").text();
    let token = page.split("/s/").nth(1).unwrap().split('<').next().unwrap();
    browser.open(&served.at(&format!("/s/{token}")));
    browser.click_on("Look at it");
    browser.wait("the text", |browser| {
        browser.text("body").contains("window.evil")
    });
    assert!(browser.run("return window.evil ?? null").is_null());
    assert!(browser.run("try { return localStorage.length } catch { return 'none' }") == "none");
}

#[test]
fn the_drop_folder_can_be_used_by_everybody_in_both_lights_and_widths() {
    let (Some(browser), Some(axe)) = (Browser::start(), testkit::axe()) else {
        return;
    };
    let bare = Served::new();
    bare.house.configure_simply();
    bare.enter(&browser);
    browser.open(&bare.at("/drop"));
    let mut wrong = check(&browser, axe, "drop-none");
    drop(bare);
    let served = served(&browser);
    wrong.extend(check(&browser, axe, "drop-not-created"));
    browser.click_on("Make an empty one");
    wrong.extend(check(&browser, axe, "drop-empty"));
    let long =
        "a-very-long-name-without-any-blank-in-it-as-cameras-and-scanners-make-them-2026.jpg";
    let_go(
        &browser,
        &[
            ("report.odt", 31_000),
            ("notes.txt", 700),
            (long, 2_400_000),
            ("old.txt", 9),
        ],
    );
    wait_for_uploads(&browser);
    browser.open(&served.at("/drop?in=photos/2026"));
    let_go(&browser, &[("sea.jpg", 1_200_000)]);
    wait_for_uploads(&browser);
    let owner = served.house.visitor();
    owner.post("/drop/delete", &[("path", "old.txt")]);
    for fields in [
        [
            ("path", "report.odt"),
            ("days", "7"),
            ("password", "secret"),
        ],
        [("path", "notes.txt"), ("days", "1"), ("look", "yes")],
        [("path", long), ("days", "30"), ("once", "yes")],
    ] {
        owner.post("/drop/share", &fields);
    }
    let photos = [
        ("title", "Photos of the journey to the sea"),
        ("days", "7"),
        ("quota", "1000"),
    ];
    owner.post("/drop/request", &photos);
    let page = owner.get("/drop/links").text();
    let links: Vec<String> = page
        .split("<code>")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("</code>")?.0.to_owned()))
        .collect();
    let of = |kind: &str| -> Vec<String> {
        let of_kind = links.iter().filter(|link| link.contains(kind));
        of_kind.cloned().collect()
    };
    let request = of("/r/").remove(0);
    served.house.write("wave.jpg", "a wave");
    let wave = served.house.home().join("wave.jpg");
    for (name, path) in [
        ("drop", "/drop"),
        ("drop-folder", "/drop?in=photos/2026"),
        ("drop-history", "/drop/history?path=old.txt"),
    ] {
        browser.open(&served.at(path));
        wrong.extend(check(&browser, axe, name));
    }
    for (index, link) in of("/s/").iter().enumerate() {
        browser.open(link);
        wrong.extend(check(&browser, axe, &format!("guest-link-{index}")));
    }
    browser.open(&request);
    wrong.extend(check(&browser, axe, "guest-request"));
    browser.keys("#file", wave.to_str().unwrap());
    browser.click_on("Upload");
    browser.wait("the thanks", |browser| {
        browser.text("h1").contains("Thank you")
    });
    wrong.extend(check(&browser, axe, "guest-thanks"));
    browser.open(&served.at("/s/nothing"));
    wrong.extend(check(&browser, axe, "guest-nothing"));
    browser.open(&served.at("/drop/links?path=notes.txt"));
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)");
    wrong.extend(check(&browser, axe, "drop-links"));
    owner.post("/settings/language", &[("language", "de")]);
    for (name, path) in [
        ("drop-de", "/drop"),
        ("drop-links-de", "/drop/links?path=notes.txt"),
    ] {
        browser.open(&served.at(path));
        browser.run("document.querySelectorAll('details').forEach(d => d.open = true)");
        wrong.extend(check(&browser, axe, name));
    }
    browser.open(&request);
    wrong.extend(check(&browser, axe, "guest-request-de"));
    assert_eq!(wrong, Vec::<String>::new());
}
