//! The binary `countersign`: the server, its administration, and a phone for the command line.

mod authority;
mod channel;
mod cli;
mod clock;
mod config;
mod delivery;
mod doorbell;
mod held;
mod listen;
mod moment;
mod observe;
mod retention;
mod serve;
mod surface;
mod task;
mod tls;
mod tries;
mod witness;

/// For C's allocations, too: SQLite's are many. docs/performance.md says what it gains.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    let status = cli::run().await;
    // The runtime is not waited for: a thread of its own may still be reading standard input.
    std::process::exit(status);
}
