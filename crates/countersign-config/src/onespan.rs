//! `[onespan]`: the dialect with OneSpan's APIs.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use countersign_core::spec::Digits;

use super::key::UncheckedValue;
use super::layers::Layers;

/// The largest value of [`OneSpanConfig::wait`].
const WAIT_MAX: Duration = Duration::from_mins(5);

/// The `[onespan]` section.
#[derive(Clone, Debug)]
pub struct OneSpanConfig {
    /// How long a suspended call waits for the user, and the lifetime of the transaction that it
    /// started.
    pub wait: Duration,
    /// The path before `/rest/v2` in the gateway's addresses; may be empty.
    pub context: String,
    /// The number of digits of a code.
    pub code_digits: Digits,
    /// Fetches that one API key may try for one serial number in a minute.
    pub fetches_per_minute: u32,
    /// Completions that one API key may try for one user in a minute.
    pub completions_per_minute: u32,
    /// Whether status codes hide from callers which users are locked.
    pub generic_status_codes: bool,
    /// Whether a cancel may name its request by the plain key.
    pub plain_cancel_keys: bool,
}

impl OneSpanConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let digits = layers.take("onespan.code_digits");
        let code_digits = u8::try_from(digits.count()?).ok().and_then(Digits::new);
        Ok(Self {
            wait: wait(&layers.take("onespan.wait_seconds"))?,
            context: context(&layers.take("onespan.context"))?,
            code_digits: code_digits.with_context(|| {
                format!("{digits} is a number from 6 to 10, not {}", digits.value)
            })?,
            fetches_per_minute: layers.take("onespan.fetches_per_minute").count()?,
            completions_per_minute: layers.take("onespan.completions_per_minute").count()?,
            generic_status_codes: layers.take("onespan.generic_status_codes").yes()?,
            plain_cancel_keys: layers.take("onespan.plain_cancel_keys").yes()?,
        })
    }
}

/// Path segments, without a slash around them.
fn context(key: &UncheckedValue) -> anyhow::Result<String> {
    let text = key.text()?.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b);
    ensure!(
        text.bytes().all(plain) && !text.contains("//"),
        "{key} is a path of letters, digits and `-_.~`, not {}",
        key.value
    );
    Ok(text.to_owned())
}

fn wait(key: &UncheckedValue) -> anyhow::Result<Duration> {
    let seconds = key.value.as_integer().map(u64::try_from);
    match seconds.and_then(Result::ok).map(Duration::from_secs) {
        Some(wait) if wait <= WAIT_MAX => Ok(wait),
        _ => {
            let most = WAIT_MAX.as_secs();
            anyhow::bail!("{key} is a whole number from 0 to {most}, not {}", key.value)
        }
    }
}
