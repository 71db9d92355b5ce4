//! What a dialect is to the load: how its application and its devices connect, and what a cycle is.

use std::time::Duration;

use clap::ValueEnum;
use tokio::time::Instant;

use crate::crowd::Keys;

/// A cycle that takes longer has failed.
pub(crate) const CYCLE_MAX: Duration = Duration::from_mins(1);

/// The dialects that can be measured.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Name {
    /// KOBIL's call, and a device on its WebSocket that signs a CMS
    #[default]
    Kobil,
    /// OneSpan's SOAP, and a phone that fetches over REST and answers with a code
    Onespan,
    /// TrustedX's process, which a device ends by its link, and whose result is polled
    Trustedx,
}

/// One of them. Clones are handles to the same.
pub(super) trait Dialect: Clone + Send + Sync + 'static {
    /// A kept-alive connection of the application's, with one call on it at a time.
    type Application: Send;
    /// A device's connection.
    type Device: Send;

    /// Connects as the application.
    fn application(&self) -> impl Future<Output = anyhow::Result<Self::Application>> + Send;

    /// Connects as a device.
    fn device(&self, keys: &Keys) -> impl Future<Output = anyhow::Result<Self::Device>> + Send;

    /// Has one thing signed, from the application's call to its answer, which is looked at.
    fn cycle(
        &self,
        application: &mut Self::Application,
        device: &mut Self::Device,
        keys: &Keys,
        number: u64,
    ) -> impl Future<Output = anyhow::Result<Cycle>> + Send;

    /// Does what keeps a device connected that has nothing else to do.
    fn look_after(device: &mut Self::Device) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Renews what the applications' calls bear, before it expires.
    fn renew(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The end of a cycle, moment by moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    /// The device sent its signature.
    pub(super) completed: Instant,
    /// It was told that the signature is good.
    pub(super) acknowledged: Instant,
    /// The application had its answer.
    pub(super) answered: Instant,
    /// How often the application asked for it, if it had to ask.
    pub(super) polls: u32,
}

impl Name {
    /// As it is called on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kobil => "kobil",
            Self::Onespan => "onespan",
            Self::Trustedx => "trustedx",
        }
    }

    /// What a cycle of its may cost, where KOBIL's and one verification cost that much: KOBIL's
    /// itself is held against verifications alone.
    pub(super) fn bound(self, kobil: f64, verification: f64) -> Option<f64> {
        match self {
            Self::Kobil => None,
            Self::Onespan => Some(1.2 * kobil),
            // The device's call carries a proof of its own.
            Self::Trustedx => Some(1.3 * kobil + verification),
        }
    }
}
