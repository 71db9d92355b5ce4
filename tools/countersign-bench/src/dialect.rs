//! The interface of a dialect to the load: the connections of its application and its devices, and
//! its cycle.

use std::time::Duration;

use clap::ValueEnum;
use tokio::time::Instant;

use crate::crowd::Keys;

/// The time after which a cycle has failed.
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

/// A dialect. Clones share the same state.
pub(super) trait Dialect: Clone + Send + Sync + 'static {
    /// A kept-alive connection of the application, with one call at a time.
    type Application: Send;
    /// A device's connection.
    type Device: Send;

    /// Connects as the application.
    fn application(&self) -> impl Future<Output = anyhow::Result<Self::Application>> + Send;

    /// Connects as a device.
    fn device(&self, keys: &Keys) -> impl Future<Output = anyhow::Result<Self::Device>> + Send;

    /// Signs one transaction, from the application's call to its answer, and checks the answer.
    fn cycle(
        &self,
        application: &mut Self::Application,
        device: &mut Self::Device,
        keys: &Keys,
        number: u64,
    ) -> impl Future<Output = anyhow::Result<Cycle>> + Send;

    /// Answers pings, to keep an idle device connected.
    fn look_after(device: &mut Self::Device) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Renews the credentials of the applications' calls before they expire.
    fn renew(&self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The times of a cycle's last steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    /// The device sent its signature.
    pub(super) completed: Instant,
    /// The server confirmed the signature to the device.
    pub(super) acknowledged: Instant,
    /// The application received its answer.
    pub(super) answered: Instant,
    /// The number of the application's polls, if it polls.
    pub(super) polls: u32,
}

impl Name {
    /// The name on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kobil => "kobil",
            Self::Onespan => "onespan",
            Self::Trustedx => "trustedx",
        }
    }

    /// The bound on the cost of a cycle, relative to the costs of KOBIL's cycle and of one
    /// verification. KOBIL's cycle itself is compared with verifications only.
    pub(super) fn bound(self, kobil: f64, verification: f64) -> Option<f64> {
        match self {
            Self::Kobil => None,
            Self::Onespan => Some(1.2 * kobil),
            // The device's call carries an additional proof.
            Self::Trustedx => Some(1.3 * kobil + verification),
        }
    }
}
