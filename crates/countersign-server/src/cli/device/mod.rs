//! `countersign device …`: a device on the command line, and the devices in the ledger.

mod enrol;
mod goodbye;
mod import;
mod ledger;
mod renew;
mod run;
pub(super) mod said;
mod scan;
mod set_pin;
mod woken;

use clap::Subcommand;

pub(super) use ledger::DeviceArgs;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Enrol(enrol::Enrol),
    Run(run::Run),
    Import(import::Import),
    Renew(renew::Renew),
    SetPin(set_pin::SetPin),
    Goodbye(goodbye::Goodbye),
    Scan(scan::Scan),
    List(ledger::ListDevices),
    /// Show a device in the ledger.
    Show(ledger::DeviceArgs),
    /// Delete a device permanently. Its signatures stay valid.
    Delete(ledger::DeviceArgs),
    /// Lock a device: until `unlock` it can neither take nor finish transactions.
    Lock(ledger::DeviceArgs),
    /// Unlock a device.
    Unlock(ledger::DeviceArgs),
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Enrol(enrol) => enrol.run().await,
            Self::Run(run) => run.run().await,
            Self::Import(import) => import.run().await,
            Self::Renew(renew) => renew.run().await,
            Self::SetPin(set_pin) => set_pin.run().await,
            Self::Goodbye(goodbye) => goodbye.run().await,
            Self::Scan(scan) => scan.run().await,
            Self::List(list) => list.run().await,
            Self::Show(one) => one.show().await,
            Self::Delete(one) => one.delete().await,
            Self::Lock(one) => one.lock().await,
            Self::Unlock(one) => one.unlock().await,
        }
    }
}
