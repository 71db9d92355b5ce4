//! The process: reads its configuration, serves, drains.

mod config;
mod listen;
mod observe;
mod task;
mod tls;

use std::time::{Duration, SystemTime};

use axum::Router;

use crate::config::{Config, Overrides};
use crate::listen::Listener;
use crate::task::{Shutdown, Weight};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let file = std::env::args_os().nth(1);
    let config = Config::load(file.as_ref().map(std::path::Path::new), Overrides::default())?;
    observe::log(&config.observe)?;
    let tasks = Shutdown::default();
    tasks.begin_on_signals()?;
    let tls = tls::prepare(&config.server, &config.store.data, SystemTime::now())?;
    let listener = Listener::public(&config.server, tls).await?;
    let admin = observe::bind(&config.observe).await?;
    let metrics = observe::record(&tasks)?;
    observe::serve(admin, metrics, || async { true }, &tasks);
    tracing::info!("Listening on {}", listener.address());
    let served = listener.serve(Router::new(), tasks.clone(), tasks.draining());
    tasks.spawn("listener", Weight::Essential, served);
    tasks.begun().await;
    tasks.finish(config.server.drain + Duration::from_secs(5)).await;
    anyhow::ensure!(tasks.failed().is_none(), "{:?} failed", tasks.failed());
    Ok(())
}
