//! What idle devices cost: resident memory of the server, each connected, welcomed and silent.

use std::time::Duration;

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::time::sleep;

use crate::bar::Bar;
use crate::crowd::Keys;
use crate::phone::Phone;
use crate::process::Server;

/// Connected before memory is looked at first: what the server has once and not for each device.
const BEFORE: usize = 200;
const TOGETHER: usize = 32;
/// Connected before those that are there are looked after: long before a ping is missed.
const IN_A_BATCH: usize = 500;
/// For what a handshake needed to go.
const SETTLING: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    pub(super) devices: usize,
    /// Of the server with all of them.
    pub(super) server_rss_bytes: u64,
    /// What each one adds.
    pub(super) server_rss_bytes_per_device: u64,
}

/// Connects the devices and looks at the server's memory. They are there until this returns.
pub(super) async fn measure(server: &Server, devices: &[Keys], bar: &Bar) -> anyhow::Result<Idle> {
    ensure!(devices.len() >= 2 * BEFORE, "--idle needs {} devices at least", 2 * BEFORE);
    let (first, rest) = devices.split_at(BEFORE);
    let mut phones = connect(server, first, bar).await?;
    sleep(SETTLING).await;
    let before = server.memory()?;
    for batch in rest.chunks(IN_A_BATCH) {
        phones.append(&mut connect(server, batch, bar).await?);
        look_after(&mut phones).await?;
    }
    sleep(SETTLING).await;
    look_after(&mut phones).await?;
    let after = server.memory()?;
    Ok(Idle {
        devices: devices.len(),
        server_rss_bytes: after,
        server_rss_bytes_per_device: after.saturating_sub(before) / rest.len() as u64,
    })
}

async fn connect(server: &Server, devices: &[Keys], bar: &Bar) -> anyhow::Result<Vec<Phone>> {
    let connecting = devices.iter().map(|keys| Phone::connect(&server.target, keys));
    let connecting = stream::iter(connecting).buffer_unordered(TOGETHER);
    connecting.inspect_ok(|_| bar.add(1)).try_collect().await
}

async fn look_after(phones: &mut [Phone]) -> anyhow::Result<()> {
    for phone in phones {
        phone.look_up().await?;
    }
    Ok(())
}
