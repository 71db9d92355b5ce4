//! One node at its limits: callers that are held while all devices are connected, and the return of
//! all devices after the server was killed.
//!
//! A device pauses between two tries as the SDK does: a random part of a pause that doubles from
//! one second up to a minute.

use std::time::Duration;

use anyhow::ensure;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use crate::bar::Bar;
use crate::crowd::{Crowd, Keys};
use crate::http_connection::HttpConnection;
use crate::kobil::{HELD_LONG, Kobil};
use crate::phone::{LOOK_AFTER_EACH, Phone, look_after};
use crate::process::Server;
use crate::task::Tasks;

/// Callers' connections that are opened at once.
const TOGETHER: usize = 32;
/// The longest wait until all calls are held.
const HELD_WAIT: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The longest time of one try of a device: the SDK's, to connect and to be answered.
const TRY_WAIT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// Callers that wait for an end, while all devices are connected.
#[derive(Debug, Serialize)]
pub(super) struct Held {
    pub(super) callers: u32,
    /// The additional memory of each caller, its transaction and its offer included.
    pub(super) server_rss_bytes_per_caller: u64,
}

/// The return of all devices.
#[derive(Debug, Serialize)]
pub(super) struct Restart {
    /// From the signal until the new process listens.
    pub(super) seconds_until_listening: f64,
    /// From then until half of the devices are welcomed.
    pub(super) seconds_until_half_are_back: f64,
    /// From then until all devices are welcomed.
    pub(super) seconds_until_all_are_back: f64,
    /// The tries of all devices.
    pub(super) tries: u64,
    /// The server's CPU until then, by the number of devices.
    pub(super) server_cpu_microseconds_per_device: f64,
    pub(super) server_rss_bytes: u64,
}

/// Has the first `count` users' applications wait for a signature that nobody makes.
pub(super) async fn hold(
    server: &Server,
    crowd: &Crowd,
    count: u32,
    phones: &mut [Phone],
    tasks: &Tasks,
    bar: &Bar,
) -> anyhow::Result<Held> {
    let (target, before) = (&server.target, server.memory()?);
    let kobil = Kobil::prepare(target, crowd, tasks).await?;
    let users = &crowd.devices[..count as usize];
    for batch in users.chunks(LOOK_AFTER_EACH) {
        let opening = batch.iter().map(|_| HttpConnection::open(target, tasks));
        let opening = stream::iter(opening).buffer_unordered(TOGETHER);
        let lines: Vec<_> = opening.try_collect().await?;
        for (mut line, keys) in lines.into_iter().zip(batch) {
            let (kobil, user) = (kobil.clone(), keys.user.clone());
            tasks.spawn(async move {
                // The kill of the server ends the call.
                let _ = kobil.ask(&mut line, &user, 0, HELD_LONG).await;
            });
        }
        bar.add(batch.len() as u64);
        look_after(phones).await?;
    }
    let begun = Instant::now();
    while server.callers_held().await? < u64::from(count) {
        ensure!(begun.elapsed() < HELD_WAIT, "not all callers are held");
        sleep(LOOK_EVERY).await;
        look_after(phones).await?;
    }
    let each = server.memory()?.saturating_sub(before) / u64::from(count);
    Ok(Held { callers: count, server_rss_bytes_per_caller: each })
}

/// Has all devices return to a server that was just started, and that took `until_listening`.
pub(super) async fn reconnect(
    server: &Server,
    devices: &[Keys],
    until_listening: Duration,
    bar: &Bar,
) -> anyhow::Result<Restart> {
    let (began, before) = (Instant::now(), server.cpu()?);
    let mut returning: FuturesUnordered<_> =
        devices.iter().map(|keys| back(server, keys)).collect();
    let (mut phones, mut tries, mut half) = (Vec::with_capacity(devices.len()), 0, Duration::ZERO);
    while let Some((phone, its)) = returning.next().await {
        phones.push(phone);
        tries += its;
        bar.add(1);
        if phones.len() == devices.len().div_ceil(2) {
            half = began.elapsed();
        }
        if phones.len().is_multiple_of(LOOK_AFTER_EACH) {
            look_after(&mut phones).await?;
        }
    }
    let (elapsed, cpu) = (began.elapsed(), server.cpu()?.saturating_sub(before));
    let count = f64::from(u32::try_from(devices.len())?);
    Ok(Restart {
        seconds_until_listening: until_listening.as_secs_f64(),
        seconds_until_half_are_back: half.as_secs_f64(),
        seconds_until_all_are_back: elapsed.as_secs_f64(),
        tries,
        server_cpu_microseconds_per_device: cpu.as_secs_f64() * 1e6 / count,
        server_rss_bytes: server.memory()?,
    })
}

/// One device's return, and its tries.
async fn back(server: &Server, keys: &Keys) -> (Phone, u64) {
    let mut tries = 0;
    loop {
        sleep(pause(tries, random_share())).await;
        tries += 1;
        if let Ok(Ok(phone)) = timeout(TRY_WAIT, Phone::connect(&server.target, keys)).await {
            return (phone, tries);
        }
    }
}

/// The pause after this many tries: `share`, 0 to 1, of the longest one.
fn pause(tries: u64, share: f64) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << tries.min(10)).min(LONGEST_PAUSE);
    longest.mul_f64(share).max(LEAST_PAUSE)
}

fn random_share() -> f64 {
    let mut chance = [0; 4];
    aws_lc_rs::rand::fill(&mut chance).expect("the system's random generator does not fail");
    f64::from(u32::from_be_bytes(chance)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_a_minute_and_are_never_zero() {
        let longest: Vec<_> = (0..9).map(|tries| pause(tries, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(5, 0.0), LEAST_PAUSE);
        assert!((0.0..=1.0).contains(&random_share()));
    }
}
