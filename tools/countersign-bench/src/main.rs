//! `countersign-bench`: the speed of a server on this machine, measured from outside, over TLS, on
//! a real ledger.
//!
//! A *cycle* is the whole product once, through one API: from the application's call to its answer,
//! with the device's part in between, verified and durable. The server is a separate process; the
//! load comes from this one. Costs are divided by the cost of one verification on this machine, so
//! that machines can be compared. Other APIs than KOBIL's are also compared with KOBIL's cycle,
//! which is measured in turns with theirs, so that both have the same server, ledger and other
//! load.

mod bar;
mod command;
mod connect;
mod crowd;
mod cycles;
mod database;
mod dialect;
mod fleet;
mod fleet_report;
mod http_connection;
mod idle;
mod kobil;
mod ledger;
mod load;
mod onespan;
mod phone;
mod process;
mod push;
mod report;
mod restart;
mod tally;
mod task;
mod text;
mod trustedx;
mod verification;
mod work_directory;

use std::process::ExitCode;

use clap::Parser as _;

use self::command::Bench;

/// The server's allocator, so that the load's costs compare with the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let bench = Bench::parse();
    match bench.measure().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", countersign_device::display::text(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
