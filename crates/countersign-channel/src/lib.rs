//! How our devices speak: enrolment, a live channel, and the same calls over HTTP.
//!
//! `docs/device-protocol.md` is the specification; its forms are `countersign-wire`'s. This room
//! checks who calls and translates; what may happen is the engine's to decide.

#![allow(
    missing_docs,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

pub mod answer;
mod calls;
mod device_auth;
pub mod digest_url;
mod enrolment;
mod identities;
mod keys;
mod push;
mod replays;
mod websocket;

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::routing::{MethodRouter, any, get, post, put};
use countersign_core::session::Pace;
use countersign_core::time::Timestamp;
use countersign_wire::body::Code;

pub use self::device_auth::AuthenticatedDevice;
use self::keys::DeviceKeys;
use self::replays::Replays;
use crate::digest_url::DigestUrlVerifier;
use countersign_delivery::push::Pushes;
use countersign_http::listen::KnownNetworks;
use countersign_http::tries::Tries;
use countersign_node::Core;
use countersign_node::task::Shutdown;

/// What an operator decides about devices.
#[derive(Debug)]
pub struct ChannelSettings {
    /// The server's public addresses; proofs are made for one of them.
    pub origins: Vec<String>,
    /// What people call the server.
    pub server_name: String,
    /// How channels are kept alive.
    pub pace: Pace,
    /// Wrong activation codes for one user from one address in a minute.
    pub tries_per_user: NonZeroU32,
    /// Wrong activation codes from one address in a minute.
    pub tries_per_address: NonZeroU32,
    /// Wrong activation codes for one user from all addresses in an hour.
    pub tries_per_user_in_all: NonZeroU32,
}

/// What the device calls share. Clones are handles to the same.
#[derive(Clone)]
pub struct Devices(Arc<StrangerPermit>);

struct StrangerPermit {
    core: Arc<Core>,
    pushes: Pushes,
    digest_url: DigestUrlVerifier,
    tasks: Shutdown,
    /// Networks that have places reserved for them.
    known: KnownNetworks,
    rules: ChannelSettings,
    replays: Replays,
    keys: DeviceKeys,
    tries: Tries,
}

impl Devices {
    /// Joins the parts of a process that began at `begun`.
    pub fn new(
        core: Arc<Core>,
        pushes: Pushes,
        digest_url: DigestUrlVerifier,
        tasks: Shutdown,
        known: KnownNetworks,
        rules: ChannelSettings,
        begun: Timestamp,
    ) -> Self {
        let replays = Replays::since(begun);
        Self(Arc::new(StrangerPermit {
            core,
            pushes,
            digest_url,
            tasks,
            known,
            rules,
            replays,
            keys: DeviceKeys::default(),
            tries: Tries::default(),
        }))
    }

    /// Who says what a digest's own address says.
    pub fn digest_url(&self) -> &DigestUrlVerifier {
        &self.0.digest_url
    }

    /// When devices' calls can be answered: the first tokens that cannot have been used before this
    /// process began are made then.
    pub fn opens_at(&self) -> Timestamp {
        self.0.replays.opens_at()
    }

    /// Forgets who has not tried lately.
    pub fn tidy(&self) {
        self.0.replays.tidy(self.0.core.now());
        self.0.tries.tidy(self.0.core.now());
    }
}

/// The device calls.
pub fn router(devices: Devices) -> Router {
    let known = |method: MethodRouter<Devices>| {
        method.fallback(|| async { answer::Refused::from(Code::MethodNotAllowed) })
    };
    Router::new()
        .route("/device/v1/enrolments", known(post(enrolment::enrol)))
        .route("/device/v1/identities", known(post(identities::add)))
        .route("/device/v1/pin", known(put(calls::set_pin)))
        .route("/device/v1/push", known(put(push::register).get(push::registered)))
        .route("/device/v1/offers", known(get(calls::offers)))
        .route("/device/v1/transactions/{id}/take", known(post(calls::take)))
        .route("/device/v1/transactions/{id}/finish", known(post(calls::finish)))
        .route("/device/v1/transactions/{id}/decline", known(post(calls::decline)))
        .route("/device/v1/transactions/{id}/fail", known(post(calls::fail)))
        .route("/device/v1/channel", known(get(websocket::open)))
        .route("/device/{*rest}", any(|| async { answer::Refused::from(Code::NotFound) }))
        .with_state(devices)
}
