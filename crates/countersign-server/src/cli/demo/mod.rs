//! `countersign demo`: the whole product in a few seconds, with the real server and the real
//! protocols, in separate processes.

mod application;
mod archive;
mod home;
mod kobil;
mod onespan;
mod play;
mod process;
mod stage;
mod trustedx;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::home::Home;
use self::play::DemoRun;
use self::stage::Terminal;
use super::answer;
use super::paint::{Color, Paint};

/// The files that stay when a temporary directory is removed: those that the printed commands use.
const RESULTS: [&str; 5] =
    [play::SIGNATURE, play::CA, trustedx::CONTRACT, trustedx::SIGNED, trustedx::SIGNER];

/// Shows the product in a few seconds: an application asks, a user signs on her phone, anyone can
/// verify.
///
/// Starts the real server on a ledger of its own and a command-line phone beside it, has a payment
/// signed through one vendor's API, and keeps running until Ctrl-C.
#[derive(Args, Debug)]
pub(super) struct Demo {
    /// The API that the application and the phone use
    #[arg(long, value_enum, default_value_t)]
    dialect: Dialect,
    /// End after the first signature; the exit status is 0 if it was verified
    #[arg(long)]
    once: bool,
    /// Keep all files in this directory for later [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// When to use colours
    #[arg(long, value_enum, default_value_t)]
    color: Color,
}

/// The dialects that the demo can show.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Dialect {
    /// KOBIL's Start Signature, and a phone on our own channel that signs a PKCS#7
    #[default]
    Kobil,
    /// OneSpan's SOAP, and a phone that scans a QR code, uses the gateway's REST and answers with a
    /// code
    Onespan,
    /// TrustedX's REST, and a phone that fetches a PDF from its server and signs its digest
    Trustedx,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let mut signals = Signals::listen()?;
        let paint = Paint::new(self.color);
        let title = paint.bold("Countersign");
        answer::line(&format!(
            "\n  {title}: an application asks, a person signs, anybody can verify.\n"
        ))?;
        let home = Home::make(self.data.as_deref())?;
        let mut play = DemoRun::new(&home, Terminal::new(paint));
        let played = tokio::select! {
            played = play.run(self.dialect, self.once) => played,
            () = signals.any() => Err(Stopped.into()),
        };
        // Interrupted or not, the demo succeeded if the signature was verified.
        let told = match played {
            Err(error) if !play.verified || !error.is::<Stopped>() => play.failed(&error),
            _ => Ok(()),
        };
        let verified = play.verified;
        play.stop().await;
        match (&told, verified) {
            (Ok(()), true) => home.leave(&RESULTS),
            _ => home.leave(&[]),
        }
        told
    }
}

/// The demo was stopped by a signal.
#[derive(Debug, thiserror::Error)]
#[error("it was stopped before the signature was there")]
struct Stopped;

/// Ctrl-C, SIGTERM, and the closing of the terminal.
struct Signals([Signal; 3]);

impl Signals {
    /// Handles these signals, so that none of them ends the process at once.
    fn listen() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
