//! Logs on standard error, and health and metrics on an address of their own.
//!
//! The admin listener runs longer than the public one, so that `/readyz` can tell a load balancer
//! about the draining.

use std::io::{self, IsTerminal as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusHandle;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, registry, reload};

use crate::exposition;
use countersign_config::{LogFormat, ObserveConfig, Shares};
use countersign_http::listen::{Limits, Listener};
use countersign_node::task::{Criticality, Shutdown};

/// Connections of scrapers and probes; there are normally only a few.
pub(crate) const ADMIN_CONNECTIONS_MAX: u32 = 64;
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
/// If the ledger takes longer to answer, the node is not ready.
const READY_WAIT_MAX: Duration = Duration::from_secs(2);
/// Histograms collect all samples, and shrink only in their upkeep.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The level of the log, which can be set while the process runs.
pub(crate) struct LogLevel(reload::Handle<Targets, Registry>);

impl LogLevel {
    /// Sets the level, as in `observe.log`.
    ///
    /// # Errors
    /// If the log is not in use any more.
    pub(crate) fn set(&self, levels: &Targets) -> anyhow::Result<()> {
        self.0.reload(levels.clone()).context("the level of the log cannot be set")
    }
}

/// Sends the log to standard error, for the rest of the process's life.
///
/// # Errors
/// If a log has been set up before.
pub(crate) fn log(config: &ObserveConfig) -> anyhow::Result<LogLevel> {
    let lines = fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (levels, handle) = reload::Layer::new(config.log.clone());
    let log = registry().with(lines.with_filter(levels));
    log.try_init().context("the log cannot be set up")?;
    Ok(LogLevel(handle))
}

/// Starts to record the values of `metrics::` macros, for the rest of the process's life.
///
/// # Errors
/// If a recorder has been set up before.
pub(crate) fn record(tasks: &Shutdown) -> anyhow::Result<PrometheusHandle> {
    let metrics =
        exposition::recorder()?.install_recorder().context("the metrics cannot be set up")?;
    exposition::describe();
    let (tidied, terminated) = (metrics.clone(), tasks.terminated());
    tasks.spawn("metrics", Criticality::Essential, async move {
        let mut turns = tokio::time::interval(UPKEEP_EVERY);
        while terminated.run_until_cancelled(turns.tick()).await.is_some() {
            tidied.run_upkeep();
        }
    });
    Ok(metrics)
}

/// Binds the admin listener. If the default address is in use, a free port on the loopback is
/// taken.
///
/// # Errors
/// If a configured address is in use.
pub(crate) fn bind(config: &ObserveConfig) -> anyhow::Result<Listener> {
    let limits = Limits::new(ADMIN_DRAIN);
    let shares = || Shares::unshared(ADMIN_CONNECTIONS_MAX);
    let bound = Listener::bind(config.listen, None, limits, shares());
    let listener = match bound {
        Err(_) if !config.listen_chosen => {
            let free = SocketAddr::new(config.listen.ip(), 0);
            let listener = Listener::bind(free, None, limits, shares())?;
            let (wanted, address) = (config.listen, listener.address());
            warn!(
                "{wanted} is in use (by another Countersign?): health and metrics are on {address} \
                 instead; `observe.listen` chooses"
            );
            listener
        }
        bound => bound.context("health and metrics (`observe.listen`) cannot be served")?,
    };
    info!("Health and metrics on http://{}", listener.address());
    Ok(listener)
}

/// Serves health and metrics until the process ends. `ready` returns the reason why the node
/// accepts no requests, if there is one; `count` updates the gauges before they are read.
pub(crate) fn serve<F, R, C, D>(
    listener: Listener,
    metrics: PrometheusHandle,
    ready: F,
    count: C,
    tasks: &Shutdown,
) where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), &'static str>> + Send + 'static,
    C: Fn() -> D + Send + Sync + 'static,
    D: Future<Output = ()> + Send + 'static,
{
    let (ready, count) = (Arc::new(move || ready().boxed()), Arc::new(move || count().boxed()));
    let admin = AdminEndpoint { metrics, ready, count, tasks: tasks.clone() };
    let work = listener.serve(router(admin), tasks.clone(), tasks.terminated());
    tasks.spawn("admin listener", Criticality::Essential, work);
}

#[derive(Clone)]
struct AdminEndpoint {
    metrics: PrometheusHandle,
    ready: Arc<dyn Fn() -> BoxFuture<'static, Result<(), &'static str>> + Send + Sync>,
    count: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    tasks: Shutdown,
}

fn router(admin: AdminEndpoint) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

/// `GET /readyz`: 200, or 503 with the reason. A load balancer sends no requests to a node that
/// answers 503.
async fn readyz(State(admin): State<AdminEndpoint>) -> (StatusCode, &'static str) {
    if admin.tasks.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n");
    }
    if admin.tasks.is_leaving() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping soon\n");
    }
    match tokio::time::timeout(READY_WAIT_MAX, (admin.ready)()).await {
        Ok(Ok(())) => (StatusCode::OK, "ready\n"),
        Ok(Err(reason)) => (StatusCode::SERVICE_UNAVAILABLE, reason),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the ledger does not answer in time\n"),
    }
}

/// `GET /metrics`: Prometheus' text format 0.0.4.
async fn metrics(
    State(admin): State<AdminEndpoint>,
) -> ([(&'static str, &'static str); 1], String) {
    let form = "text/plain; version=0.0.4; charset=utf-8";
    (admin.count)().await;
    ([("content-type", form)], admin.metrics.render())
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt as _;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt as _;

    use super::*;
    use countersign_config::{Config, Overrides};

    fn admin(
        ready: impl Fn() -> BoxFuture<'static, Result<(), &'static str>> + Send + Sync + 'static,
    ) -> AdminEndpoint {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        AdminEndpoint {
            metrics,
            ready: Arc::new(ready),
            count: Arc::new(|| async {}.boxed()),
            tasks: Shutdown::default(),
        }
    }

    async fn ask(admin: AdminEndpoint, path: &str) -> (u16, String) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = router(admin).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_node_is_ready_while_its_ledger_answers() {
        let answers = admin(|| async { Ok(()) }.boxed());
        assert_eq!(ask(answers, "/readyz").await, (200, "ready\n".into()));
        let fails = admin(|| async { Err("it is full\n") }.boxed());
        assert_eq!(ask(fails, "/readyz").await, (503, "it is full\n".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_hangs_makes_a_node_unready_rather_than_silent() {
        let hangs = admin(|| std::future::pending().boxed());
        assert_eq!(
            ask(hangs, "/readyz").await,
            (503, "the ledger does not answer in time\n".into())
        );
    }

    #[tokio::test]
    async fn a_node_that_leaves_or_drains_is_alive_and_not_ready() {
        let admin = admin(|| async { Ok(()) }.boxed());
        admin.tasks.start_leaving();
        assert_eq!(ask(admin.clone(), "/readyz").await, (503, "stopping soon\n".into()));
        admin.tasks.start_draining();
        assert_eq!(ask(admin.clone(), "/readyz").await, (503, "draining\n".into()));
        assert_eq!(ask(admin, "/healthz").await, (200, "alive\n".into()));
    }

    #[tokio::test]
    async fn what_is_counted_is_in_the_metrics() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        metrics::with_local_recorder(&recorder, || metrics::counter!("signed_total").increment(3));
        let count = move || {
            metrics::with_local_recorder(&recorder, || metrics::gauge!("held").set(2));
            async {}.boxed()
        };
        let admin =
            AdminEndpoint { metrics, count: Arc::new(count), ..admin(|| async { Ok(()) }.boxed()) };
        let (status, text) = ask(admin, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("signed_total 3") && text.contains("held 2"), "{text}");
    }

    #[tokio::test]
    async fn a_default_address_that_is_taken_gives_way_and_a_chosen_one_does_not() {
        let mut config = Config::load(None, Overrides::default()).unwrap().observe;
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        config.listen = taken.local_addr().unwrap();
        let listener = bind(&config).unwrap();
        assert_ne!(listener.address().port(), config.listen.port());
        assert!(listener.address().ip().is_loopback());

        config.listen_chosen = true;
        let error = bind(&config).err().expect("it is taken");
        assert!(format!("{error:#}").contains(&config.listen.to_string()), "{error:#}");
    }
}
