//! The SDK for devices: enrol, listen, show, sign.
//!
//! ```text
//! code ──▶ enrol ──▶ phone.json
//!                        │
//!                     Device ◀── next ──── offers, withdrawals (WebSocket or long poll)
//!                        │
//!                      take ──▶ RenderedContent ──▶ the user
//!                                 ├── approve ──▶ a CMS, stored until answered ──▶ the server
//!                                 └── decline ──▶ the server
//! ```
//!
//! Certificates end: [`run`] renews those that are due, and a program with a loop of its own calls
//! [`Device::renew_due`] at each of its starts.
//!
//! Two guarantees: a device signs exactly the bytes that it showed ([`RenderedContent`] is made of
//! these bytes only, and only a [`RenderedContent`] can be approved), and one signature is valid
//! for one transaction, whose id it contains. The protocol is specified in
//! `docs/device-protocol.md`; this crate does not depend on the server.
//!
//! ```no_run
//! use countersign_device::{Answer, Device, DeviceDescription, Enrolment, Event, KeyKind};
//! use countersign_device::{ActivationCode, PhoneFile, Run, enrol, run};
//!
//! # async fn example() -> Result<(), Box<dyn core::error::Error>> {
//! let file = PhoneFile::at("phone.json");
//! let enrolment = Enrolment {
//!     server: "https://localhost:8443".to_owned(),
//!     server_ca: Some(std::fs::read_to_string("data/tls/ca.pem")?),
//!     tenant: "bank".to_owned(),
//!     user: "ann".to_owned(),
//!     code: ActivationCode::typed("7K2M-Q0XR-ZV4C-9HTD")?,
//!     proposed_labels: vec!["payments".to_owned()],
//!     device: DeviceDescription { name: "Ann's phone".to_owned(), ..Default::default() },
//!     pin: None,
//!     key: KeyKind::P256,
//!     push: None,
//! };
//! enrol(&file, &enrolment).await?;
//!
//! let mut device = Device::open(&file)?;
//! let once = Run { answer: Answer::Approve, pin: None, count: Some(1) };
//! run(&mut device, once, |event| {
//!     if let Event::Shown(shown) = event {
//!         println!("{}", shown.view());
//!     }
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```

mod address;
mod authority;
mod backoff;
mod channel;
mod clock;
pub mod cms;
mod device;
pub mod display;
pub mod document;
mod enrol;
mod error;
mod file;
pub mod gateway;
pub mod html;
mod http;
mod identity;
mod key;
mod listen;
mod pin;
pub mod push;
pub mod raw;
mod run;
mod shown;
mod trustedx;

pub use authority::authority;
pub use countersign_wire::body::{
    Code, DeclineReason, DeviceDescription, Document, Ended, Match, Offer, Operation, State, Use,
    UserDevice,
};
pub use countersign_wire::code::ActivationCode;
pub use countersign_wire::frame::{Close, Withdrawn};
pub use countersign_wire::guard::AllowedHost;
pub use countersign_wire::id::TransactionId;
pub use countersign_wire::phone::Phone;
pub use countersign_wire::uri::EnrolUri;
pub use device::{Device, Renewed, Resumed};
pub use enrol::{Enrolment, enrol};
pub use error::Error;
pub use file::PhoneFile;
pub use http::Http;
pub use identity::Source;
pub use key::KeyKind;
pub use listen::{Listen, Notice};
pub use pin::Pin;
pub use run::{Answer, Ask, Choice, Event, Run, run, run_one};
pub use shown::{DigestView, RenderedContent, View};
