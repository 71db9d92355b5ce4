//! The cost of idle devices: the server's resident memory, with each device connected, welcomed and
//! silent.

use std::time::Duration;

use anyhow::ensure;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::time::sleep;

use crate::bar::Bar;
use crate::crowd::Keys;
use crate::phone::{LOOK_AFTER_EACH, Phone, look_after};
use crate::process::Server;
use crate::restart::{Held, Restart};

/// The part of the devices that connect before the first measurement of memory: one in this many.
/// By then the caches of the ledger's readers are full, which do not grow with the devices.
const BEFORE_PART: usize = 5;
const DEVICES_MIN: usize = 400;
const TOGETHER: usize = 32;
/// The time after which the memory of handshakes is free again.
const SETTLING: Duration = Duration::from_secs(2);

/// The measured figures.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    pub(super) devices: usize,
    /// The server's memory with all devices.
    pub(super) server_rss_bytes: u64,
    /// The additional memory of each device.
    pub(super) server_rss_bytes_per_device: u64,
    /// With --held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Held>,
    /// With --restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<Restart>,
}

impl Idle {
    /// The entries of the report for held callers and the devices' return.
    pub(super) fn at_limits(&self) -> impl Iterator<Item = (&'static str, String)> {
        let held = self.held.as_ref().map(|held| {
            let (callers, each) = (held.callers, held.server_rss_bytes_per_caller);
            ("held callers", format!("{callers}, {each} bytes of memory each"))
        });
        let restart = self.restart.as_ref().map(|back| {
            let (half, all) = (back.seconds_until_half_are_back, back.seconds_until_all_are_back);
            let (tries, cpu) = (back.tries, back.server_cpu_microseconds_per_device);
            let listening = back.seconds_until_listening;
            let text = format!(
                "listening after {listening:.1} s; half are back after another {half:.1} s, all \
                 after {all:.1} s, with {tries} tries and {cpu:.0} µs of server CPU each"
            );
            ("devices after a kill", text)
        });
        held.into_iter().chain(restart)
    }
}

/// Connects the devices and measures the server's memory.
pub(super) async fn measure(
    server: &Server,
    devices: &[Keys],
    bar: &Bar,
) -> anyhow::Result<(Idle, Vec<Phone>)> {
    ensure!(devices.len() >= DEVICES_MIN, "--idle needs {DEVICES_MIN} devices at least");
    let (first, rest) = devices.split_at(devices.len() / BEFORE_PART);
    let mut phones = Vec::with_capacity(devices.len());
    connect(server, first, &mut phones, bar).await?;
    sleep(SETTLING).await;
    let before = server.memory()?;
    connect(server, rest, &mut phones, bar).await?;
    sleep(SETTLING).await;
    look_after(&mut phones).await?;
    let after = server.memory()?;
    let idle = Idle {
        devices: devices.len(),
        server_rss_bytes: after,
        server_rss_bytes_per_device: after.saturating_sub(before) / rest.len() as u64,
        held: None,
        restart: None,
    };
    Ok((idle, phones))
}

async fn connect(
    server: &Server,
    devices: &[Keys],
    phones: &mut Vec<Phone>,
    bar: &Bar,
) -> anyhow::Result<()> {
    for batch in devices.chunks(LOOK_AFTER_EACH) {
        let connecting = batch.iter().map(|keys| Phone::connect(&server.target, keys));
        let connecting = stream::iter(connecting).buffer_unordered(TOGETHER);
        let mut connected: Vec<_> = connecting.inspect_ok(|_| bar.add(1)).try_collect().await?;
        phones.append(&mut connected);
        look_after(phones).await?;
    }
    Ok(())
}
