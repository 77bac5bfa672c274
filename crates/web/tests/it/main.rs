//! The page from outside: every screen and every attack on the router, journeys in a browser.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adding;
mod attacks;
mod browser;
mod drop_browser;
mod dropping;
mod flood;
mod guests;
mod numbers;
mod outline;
mod restores;
mod screens;
mod settings;
mod signing_in;
mod speed;
mod visitor;
