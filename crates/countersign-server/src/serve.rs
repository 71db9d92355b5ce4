//! The server process: its parts, its start, and its shutdown.
//!
//! ```text
//! config ─▶ store ─▶ engine ─┬─ dialects (clients) ─────────┐
//!                            ├─ channel  (devices) ─────────┴─ listener
//!                            ├─ deliveries
//!                            └─ sweeper  (time)
//! ```
//!
//! At SIGHUP: files are read again (`reload.rs`).
//! At SIGTERM: `/readyz` answers 503 for a while; then no new transactions start, waiting callers
//! are told to ask again, channels are closed with a reason, and the ledger is closed cleanly.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use axum::Router;
use countersign_core::Fault;
use countersign_core::engine::{Engine, Policy};

use countersign_core::limits::SWEEP_MAX;
use countersign_core::session::Pace;
use countersign_core::user::LockPolicy;
use countersign_store::{Fleet, OpenFor, SCHEMA, ServerLock, Store};
use metrics::gauge;
use tracing::{info, warn};

use crate::certificate_ends;
use crate::dialects;
use crate::exposition::{self, Gauges};
use crate::ledger_location;
use crate::observe;
use crate::open_files;
use crate::operator_events;
use crate::reload::Reload;
use crate::service_manager::ServiceManager;
use crate::version;
use countersign_channel::Devices;
use countersign_channel::digest_url::DigestUrlVerifier;
use countersign_config::{Config, Overrides, Tls};
use countersign_delivery::{Callers, dispatcher};
use countersign_egress::guard::Guard;
use countersign_egress::names::Names;
use countersign_egress::resolve::Resolver;
use countersign_http::callback_url::Callbacks;
use countersign_http::caller::{Authenticator, CallerSettings};
use countersign_http::listen::{ConnectionLimit, KnownNetworks, Listener};
use countersign_http::measured::measured;
use countersign_http::tls::{Certificates, own_ca_digest};
use countersign_http::token::Tokens;
use countersign_kobil::{ActivationSettings, Kobil};
use countersign_node::clock::{self, CLOCK_AHEAD_MAX, System};
use countersign_node::history;
use countersign_node::notifier::LocalNotifier;
use countersign_node::notifier::fleet;
use countersign_node::retention;
use countersign_node::task::{Criticality, Shutdown};
use countersign_node::{Core, log};
use countersign_onespan::phone::{self, Phones};
use countersign_onespan::rest::{self, Rest};
use countersign_onespan::soap::{self, Soap};
use countersign_trustedx::TrustedX;

/// The interval between two checks for transactions whose time is over.
const SWEEP_EVERY: Duration = Duration::from_millis(200);
/// The interval between two clean-ups of caches.
const TIDY_EVERY: Duration = Duration::from_mins(1);
/// The server's clock may be this far ahead of the system's without a warning, and this much
/// farther than at the last warning.
const CLOCK_AHEAD_WARNED: Duration = Duration::from_secs(1);
/// How long tasks may take to end after the drain.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Serves until a signal, or until an essential task fails.
///
/// # Errors
/// Names the problem with the configuration, the data directory or an address; or the task that
/// failed.
pub(crate) async fn serve(file: Option<&Path>, overrides: Overrides) -> anyhow::Result<()> {
    let mut config = Config::load(file, overrides.clone())?;
    let log = observe::log(&config.observe)?;
    let manager = ServiceManager::of_environment();
    let tasks = Shutdown::default();
    tasks.drain_on_signals(config.server.lame_duck)?;
    open_files::fit(&mut config);

    let _lock = ServerLock::take(&config.store.data)?;
    let store = ledger_location::open(&config, OpenFor::Serve).await?;
    log_start(&config, file);
    let (system, known) = (System::default(), KnownNetworks::default());
    let fleet = store.fleet();
    let notifier = notifier(&config, fleet.is_some());
    let core = Arc::new(Engine::new(store.clone(), notifier, system.clone(), policy(&config)));
    let begun = core.now();
    let (listener, certificates) = listen(&config, clock::system_time(begun), &known)?;
    let port = listener.address().port();
    let names = Names::of_system();
    let resolver = resolver(&config, &names);
    let (keys, body) = (store.private_keys(), dialects::result_body);
    let callers = Callers::new(&config, keys.clone(), &names, resolver.clone(), body)?;
    let digest_url = DigestUrlVerifier::new(resolver.clone(), config.trustedx.fetch_hosts.clone());
    let address = config.server.public_addresses(port)[0].to_string();
    let tokens = Tokens::new(keys.clone(), config.tokens.lifetime, &address);
    let authenticator = authenticator(&config, &core, tokens, Callbacks::new(resolver), &known)?;
    let parts = countersign_channel::Parts {
        core: Arc::clone(&core),
        private_keys: keys,
        pushes: callers.pushes.clone(),
        digest_url,
        tasks: tasks.clone(),
        known,
        rules: device_rules(&config, port),
    };
    // Without devices there are no used tokens that a restart could have forgotten.
    let devices = Devices::new(parts, store.has_devices().await?.then_some(begun));
    let phones = phones(&config, &core, &devices);
    let router = router(&config, &authenticator, &devices, &phones, &tasks, &address);
    let reload = Reload {
        file: file.map(Path::to_path_buf),
        overrides,
        config: config.clone(),
        log,
        certificates: certificates.clone(),
        trust: callers.trust.clone(),
        pushes: callers.pushes.clone(),
        manager: manager.clone(),
        system: system.clone(),
    };
    reload.at_hangup(&tasks)?;
    serve_health(&config, &store, &core, &system, listener.limit(), &tasks)?;
    spawn_workers(&config, &core, &store, callers, certificates, fleet, &tasks);
    // About a second, in which a used device token would not be distinguishable from an unused one.
    tokio::time::sleep(core.now().until(devices.opens_at())).await;
    let tidier = tidy(authenticator, devices, phones, system, tasks.clone());
    tasks.spawn("tidier", Criticality::Essential, tidier);
    info!("Listening on {}; applications and devices reach it at {address}", listener.address());
    // The only line on standard output, for the process that started this one and waits for it.
    println!("ready {address}");
    let served = listener.serve(router, tasks.clone(), tasks.draining());
    tasks.spawn("listener", Criticality::Essential, served);
    until_stopped(&config, &store, &manager, &tasks).await
}

/// The notifier of this node, alone or in a fleet.
fn notifier(config: &Config, is_in_fleet: bool) -> LocalNotifier {
    let waiting_max = config.transactions.waiting_per_client_max;
    if is_in_fleet { LocalNotifier::in_fleet(waiting_max) } else { LocalNotifier::new(waiting_max) }
}

/// Binds the public address, with the certificates that the configuration names.
fn listen(
    config: &Config,
    now: SystemTime,
    known: &KnownNetworks,
) -> anyhow::Result<(Listener, Option<Certificates>)> {
    let certificates = Certificates::load(&config.server, &config.store.data, now)?;
    let tls = certificates.as_ref().map(Certificates::server_config);
    Ok((Listener::public(&config.server, tls, known.clone())?, certificates))
}

/// Waits for the end of the process, and stops the parts in order.
async fn until_stopped(
    config: &Config,
    store: &Store,
    manager: &ServiceManager,
    tasks: &Shutdown,
) -> anyhow::Result<()> {
    manager.ready();
    let alive = store.clone();
    manager.watch(tasks, move || alive.ready().is_ok());

    tasks.until_leaving().await;
    manager.stopping();
    tasks.until_draining().await;
    info!("Draining: no new transactions; waiting for open requests");
    tasks.finish(config.server.drain + LAST_WAIT).await;
    store.close().await.context("closing the ledger")?;
    info!("The ledger is closed");
    ensure!(tasks.failed().is_none(), "{} failed", tasks.failed().unwrap_or_default());
    Ok(())
}

/// The routes of all dialects and of devices, each measured under its dialect's name.
fn router(
    config: &Config,
    authenticator: &Authenticator,
    devices: &Devices,
    phones: &Phones,
    tasks: &Shutdown,
    address: &str,
) -> Router {
    let kobil = countersign_kobil::router(kobil(config, authenticator, tasks, address));
    let onespan = onespan(config, authenticator, phones, tasks, address);
    let trustedx = trustedx(config, authenticator, devices, tasks, address);
    let trustedx = countersign_trustedx::router(trustedx);
    let device = countersign_channel::router(devices.clone());
    Router::new()
        .merge(measured(kobil, "kobil"))
        .merge(measured(onespan, "onespan"))
        .merge(measured(trustedx, "trustedx"))
        .merge(measured(device, "device"))
}

fn resolver(config: &Config, names: &Names) -> Resolver {
    Resolver::new(Guard::new(config.delivery.allowed_networks.clone()), names.clone())
}

/// Serves health and metrics, at an address of their own.
fn serve_health(
    config: &Config,
    store: &Store,
    core: &Arc<Core>,
    system: &System,
    limit: Arc<ConnectionLimit>,
    tasks: &Shutdown,
) -> anyhow::Result<()> {
    let admin = observe::bind(&config.observe)?;
    let metrics = observe::record(tasks)?;
    let (checked, clock, checked_limit) = (store.clone(), system.clone(), Arc::clone(&limit));
    let disk = Disk::of(config);
    let ready = move || {
        let ready = ready(&checked, clock.ahead(), &checked_limit);
        std::future::ready(ready.and_then(|()| disk.check()))
    };
    gauge!("countersign_start_seconds").set(exposition::seconds_since_epoch(core.now()));
    let (store, core, system) = (store.clone(), Arc::clone(core), system.clone());
    let gauges = Gauges { store, core, system, limit, data: config.store.data.clone() };
    let gauges = Arc::new(gauges);
    let update = move || {
        let gauges = Arc::clone(&gauges);
        async move { gauges.update().await }
    };
    observe::serve(admin, metrics, ready, update, tasks);
    Ok(())
}

/// Starts the background tasks: deliveries, retention and the sweeper.
fn spawn_workers(
    config: &Config,
    core: &Arc<Core>,
    store: &Store,
    callers: Callers,
    used: Option<Certificates>,
    fleet: Option<Fleet>,
    tasks: &Shutdown,
) {
    if let Some(fleet) = fleet {
        let work = fleet::work(Arc::clone(core), fleet, tasks.clone());
        tasks.spawn("fleet", Criticality::Essential, work);
    }
    let checking = callers.pushes.clone().check(core.now());
    tasks.spawn("check of push senders", Criticality::Passing, checking);
    let settings = countersign_delivery::rules(config);
    let deliveries = dispatcher::work(Arc::clone(core), callers, settings, tasks.clone());
    tasks.spawn("deliveries", Criticality::Essential, deliveries);
    let retention = retention::work(Arc::clone(core), config.retention.clone(), tasks.clone());
    tasks.spawn("retention", Criticality::Essential, retention);
    let operators = operator_events::watch(Arc::clone(core), store.clone(), tasks.clone());
    tasks.spawn("events of operators", Criticality::Essential, operators);
    let history = history::work(Arc::clone(core), tasks.clone());
    tasks.spawn("history of refused calls", Criticality::Essential, history);
    tasks.spawn("sweeper", Criticality::Essential, sweep(Arc::clone(core), tasks.clone()));
    let (notifier, draining) = (core.notifier().clone(), tasks.draining());
    tasks.spawn("channels", Criticality::Passing, async move {
        draining.cancelled().await;
        notifier.stop();
    });
    let watched = certificate_ends::Watched { certificates: config.certificates.clone(), used };
    let watching = certificate_ends::watch(Arc::clone(core), watched, tasks.clone());
    tasks.spawn("ends of certificates", Criticality::Essential, watching);
}

/// The reason why this node accepts no requests, if there is one.
fn ready(store: &Store, ahead: Duration, limit: &ConnectionLimit) -> Result<(), &'static str> {
    store.ready().map_err(|_| "the ledger does not answer\n")?;
    if ahead > CLOCK_AHEAD_MAX {
        return Err("the system clock was set back: correct it, and restart the server\n");
    }
    if limit.is_full() { Err("connections are full\n") } else { Ok(()) }
}

/// The disk of the ledger.
struct Disk {
    data: PathBuf,
    free_min: u64,
}

impl Disk {
    fn of(config: &Config) -> Self {
        Self { data: config.store.data.clone(), free_min: config.observe.disk_free_min }
    }

    /// The bytes that this account may still write; `None` if the system does not say.
    fn free(&self) -> Option<u64> {
        let found = rustix::fs::statvfs(&self.data).ok()?;
        Some(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Checks that commits find room.
    fn check(&self) -> Result<(), &'static str> {
        match self.free() {
            Some(free) if free < self.free_min => Err("the disk of the ledger is full\n"),
            _ => Ok(()),
        }
    }
}

/// Names what runs: the program, the ledger, and the configuration.
fn log_start(config: &Config, file: Option<&Path>) {
    let ledger = ledger_location::name(config);
    let file = file.map_or_else(|| "(defaults)".to_owned(), |file| file.display().to_string());
    let version = version::LONG;
    info!(
        version,
        ledger,
        schema = SCHEMA,
        configuration = file,
        "Countersign {version}; ledger {ledger} with schema {SCHEMA}; configuration {file}"
    );
}

pub(crate) fn policy(config: &Config) -> Policy {
    let locks = &config.locks;
    Policy {
        locks: LockPolicy { wrong_max: locks.wrong_max, first: locks.first, max: locks.max },
        pin_reset: locks.pin_reset,
        open_per_user_max: config.transactions.open_per_user_max,
        start_rates: config.transactions.start_rates,
        stored_max: config.transactions.stored_max,
        rows_max: config.enrolment.rows_max,
        push: config.push.policy,
    }
}

fn authenticator(
    config: &Config,
    core: &Arc<Core>,
    tokens: Tokens,
    callbacks: Callbacks,
    known: &KnownNetworks,
) -> anyhow::Result<Authenticator> {
    let default_tenant = config.server.default_tenant.as_deref().map(str::parse).transpose();
    let default_tenant =
        default_tenant.context("`server.default_tenant` is not a tenant's name")?;
    let settings = CallerSettings {
        tries_per_minute: quota(config.tokens.failed_tries_per_minute),
        hostname: config.server.hostname.clone(),
        default_tenant,
        scopes: config.trustedx.scopes.clone(),
    };
    Ok(Authenticator::new(Arc::clone(core), tokens, callbacks, known.clone(), settings))
}

fn kobil(config: &Config, authenticator: &Authenticator, tasks: &Shutdown, address: &str) -> Kobil {
    let lifetime = config.enrolment.code_lifetime;
    let authority = match config.server.tls {
        Tls::Own => own_ca_digest(&config.store.data).ok(),
        Tls::InFront | Tls::Files { .. } => None,
    };
    Kobil {
        authenticator: authenticator.clone(),
        tasks: tasks.clone(),
        invitations: ActivationSettings { server: address.to_owned(), lifetime, authority },
    }
}

fn phones(config: &Config, core: &Arc<Core>, devices: &Devices) -> Phones {
    let config = &config.onespan;
    let rules = phone::PhoneSettings {
        digits: config.code_digits,
        plain_cancel_keys: config.plain_cancel_keys,
        generic_status_codes: config.generic_status_codes,
        fetches_per_minute: quota(config.fetches_per_minute),
        completions_per_minute: quota(config.completions_per_minute),
    };
    Phones::new(Arc::clone(core), devices.clone(), rules)
}

/// Both APIs of OneSpan's dialect.
fn onespan(
    config: &Config,
    authenticator: &Authenticator,
    phones: &Phones,
    tasks: &Shutdown,
    address: &str,
) -> Router {
    let rest = Rest { authenticator: authenticator.clone(), phones: phones.clone() };
    let soap = Soap {
        authenticator: authenticator.clone(),
        phones: phones.clone(),
        tasks: tasks.clone(),
        wait: config.onespan.wait,
        components: config.onespan.components.clone().into(),
        address: address.into(),
    };
    rest::router(rest, &config.onespan.context).merge(soap::router(soap))
}

fn trustedx(
    config: &Config,
    authenticator: &Authenticator,
    devices: &Devices,
    tasks: &Shutdown,
    address: &str,
) -> TrustedX {
    let guard = Guard::new(config.delivery.allowed_networks.clone());
    let rules =
        Arc::new(countersign_trustedx::TrustedXSettings::new(&config.trustedx, guard, address));
    TrustedX {
        authenticator: authenticator.clone(),
        devices: devices.clone(),
        tasks: tasks.clone(),
        rules,
    }
}

fn device_rules(config: &Config, port: u16) -> countersign_channel::ChannelSettings {
    let addresses = config.server.public_addresses(port);
    countersign_channel::ChannelSettings {
        origins: addresses.iter().map(ToString::to_string).collect(),
        server_name: config.server.name.clone(),
        certificate_life: config.certificates.identity,
        pace: Pace { ping: config.channel.ping, idle: config.channel.idle },
        tries_per_user: quota(config.enrolment.tries_per_user_per_minute),
        tries_per_address: quota(config.enrolment.tries_per_address_per_minute),
        tries_per_user_in_all: quota(config.enrolment.tries_per_user_per_hour),
    }
}

fn quota(per_minute: u32) -> NonZeroU32 {
    NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN)
}

/// Ends transactions whose time is over.
async fn sweep(core: Arc<Core>, tasks: Shutdown) {
    let mut turns = tokio::time::interval(SWEEP_EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while tasks.draining().run_until_cancelled(turns.tick()).await.is_some() {
        if let Err(fault) = sweep_all(&core, &tasks).await {
            log(&fault);
        }
    }
}

/// Sweeps until no more transactions are due than one sweep examines.
async fn sweep_all(core: &Core, tasks: &Shutdown) -> Result<(), Fault> {
    let mut first = None;
    loop {
        let due = core.sweep().await?.now;
        let is_full = due.len() >= usize::from(SWEEP_MAX);
        // A transaction that is due again was not ended. The next turn tries once more.
        if !is_full || due.first() == first.as_ref() || tasks.is_draining() {
            return Ok(());
        }
        first = due.into_iter().next();
    }
}

/// Drops expired entries of caches, and warns if the clock was set back.
async fn tidy(
    authenticator: Authenticator,
    devices: Devices,
    phones: Phones,
    system: System,
    tasks: Shutdown,
) {
    let mut turns = tokio::time::interval(TIDY_EVERY);
    let mut warned = Duration::ZERO;
    while tasks.terminated().run_until_cancelled(turns.tick()).await.is_some() {
        let ahead = system.ahead();
        if ahead >= warned + CLOCK_AHEAD_WARNED {
            warned = ahead;
            warn!(
                clock.ahead_seconds = ahead.as_secs(),
                "The system clock was set back. The server's clock goes on from its latest time, \
                 and is {} s ahead. If the system clock is right now, restart the server",
                ahead.as_secs()
            );
        }
        authenticator.tidy();
        devices.tidy();
        phones.tidy();
    }
}
