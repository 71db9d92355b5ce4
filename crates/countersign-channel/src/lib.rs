//! The device protocol: enrolment, the channel, and the same calls over HTTP.
//!
//! `docs/device-protocol.md` is the specification; the messages are types of `countersign-wire`.
//! This crate authenticates and translates; the engine decides.

#![allow(
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
mod goodbye;
mod identities;
mod keys;
mod push;
mod renewal;
mod replays;
mod websocket;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{MethodRouter, any, delete, get, post, put};
use countersign_core::session::Pace;
use countersign_core::time::Timestamp;
use countersign_wire::body::Code;

pub use self::device_auth::{AuthenticatedCall, AuthenticatedDevice};
use self::keys::DeviceKeys;
use self::replays::Replays;
use crate::digest_url::DigestUrlVerifier;
use countersign_delivery::push::Pushes;
use countersign_http::listen::KnownNetworks;
use countersign_http::tries::Tries;
use countersign_node::authority::Terms;
use countersign_node::task::Shutdown;
use countersign_node::{Core, PrivateKeys};

/// The operator's settings for devices.
#[derive(Debug)]
pub struct ChannelSettings {
    /// The server's public addresses; a token names one of them.
    pub origins: Vec<String>,
    /// The server's name for people.
    pub server_name: String,
    /// The lifetime of the certificates of devices' identities.
    pub certificate_life: Duration,
    /// The intervals that keep channels alive.
    pub pace: Pace,
    /// Wrong activation codes for one user from one address in a minute.
    pub tries_per_user: NonZeroU32,
    /// Wrong activation codes from one address in a minute.
    pub tries_per_address: NonZeroU32,
    /// Wrong activation codes for one user from all addresses in an hour.
    pub tries_per_user_in_all: NonZeroU32,
}

/// The state that the device calls share. Clones share it.
#[derive(Clone)]
pub struct Devices(Arc<StrangerPermit>);

/// The parts of the process that the channel uses.
pub struct Parts {
    /// The engine.
    pub core: Arc<Core>,
    /// Private keys of tenants, with which certificates are issued.
    pub private_keys: PrivateKeys,
    /// The senders of push services.
    pub pushes: Pushes,
    /// The verifier of digests at their own addresses.
    pub digest_url: DigestUrlVerifier,
    /// The tasks of the process.
    pub tasks: Shutdown,
    /// Networks for which connections are reserved.
    pub known: KnownNetworks,
    /// The operator's settings.
    pub rules: ChannelSettings,
}

struct StrangerPermit {
    core: Arc<Core>,
    /// Private keys of tenants.
    private_keys: PrivateKeys,
    pushes: Pushes,
    digest_url: DigestUrlVerifier,
    tasks: Shutdown,
    /// Networks for which connections are reserved.
    known: KnownNetworks,
    rules: ChannelSettings,
    replays: Replays,
    keys: DeviceKeys,
    tries: Tries,
}

impl Devices {
    /// Joins the parts of a process that began at `begun`, or before any device was enrolled.
    pub fn new(parts: Parts, begun: Option<Timestamp>) -> Self {
        let Parts { core, private_keys, pushes, digest_url, tasks, known, rules } = parts;
        let replays = begun.map_or_else(Replays::first, Replays::since);
        Self(Arc::new(StrangerPermit {
            core,
            private_keys,
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

    /// The verifier of digests at their own addresses.
    pub fn digest_url(&self) -> &DigestUrlVerifier {
        &self.0.digest_url
    }

    /// The terms of a certificate that is issued now.
    fn terms(&self) -> Terms {
        let core = &self.0.core;
        let (serial, lifetime) = (core.random_u128(), self.0.rules.certificate_life);
        Terms { serial, now: core.now(), lifetime }
    }

    /// When devices' calls can be answered: when the first tokens are made that cannot have been
    /// used before this process began.
    pub fn opens_at(&self) -> Timestamp {
        self.0.replays.opens_at()
    }

    /// Forgets callers without recent attempts.
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
        .route("/device/v1/identities/{id}/certificate", known(post(renewal::renew)))
        .route("/device/v1/device", known(delete(goodbye::say)))
        .route("/device/v1/pin", known(put(calls::set_pin)))
        .route("/device/v1/push", known(put(push::register).get(push::registered)))
        .route("/device/v1/offers", known(get(calls::offers)))
        .route("/device/v1/devices", known(get(calls::devices)))
        .route("/device/v1/transactions/{id}/take", known(post(calls::take)))
        .route("/device/v1/transactions/{id}/finish", known(post(calls::finish)))
        .route("/device/v1/transactions/{id}/decline", known(post(calls::decline)))
        .route("/device/v1/transactions/{id}/fail", known(post(calls::fail)))
        .route("/device/v1/channel", known(get(websocket::open)))
        .route("/device/{*rest}", any(|| async { answer::Refused::from(Code::NotFound) }))
        .with_state(devices)
}
