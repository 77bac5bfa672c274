//! The page: what a person does with backups, in a browser.
//!
//! The server renders HTML; every action is a form that works without script. This crate knows how
//! a request is told from an attack and how a screen is drawn. What a screen shows was found out by
//! [`engine`], and what a button does is done by it.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # fn machine() -> engine::Machine { unimplemented!() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let address = ravelin_web::Address::new(listener.local_addr()?, None, false)?;
//! let page = Arc::new(ravelin_web::Page::new(ravelin_web::Setup {
//!     machine: machine(),
//!     config_file: "/home/ann/.config/ravelin/ravelin.toml".into(),
//!     program: "/usr/bin/ravelin".into(),
//!     tools: engine::timer::Tools::default(),
//!     address,
//!     tell: Box::new(|link| println!("{link}")),
//! }));
//! println!("{}", page.invite()?);
//! ravelin_web::serve(listener, &page)?;
//! # Ok(())
//! # }
//! ```

mod address;
mod ask;
mod assets;
mod audit;
mod fault;
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod human;
mod icon;
mod job;
mod layout;
mod page;
mod password;
mod rate;
mod routes;
mod say;
mod screens;
mod serve;
mod session;
mod settings;
mod tls;

pub use address::{Address, BadAddress};
pub use page::{Page, Setup};
pub use password::{has_password, set_password};
pub use routes::app;
pub use screens::sheet::sheet_document;
pub use serve::{serve, serve_tls};
pub use tls::{BadTls, Tls};
