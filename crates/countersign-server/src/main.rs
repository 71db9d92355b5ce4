//! The binary `countersign`: the server, its administration, and a device on the command line.

/// Also for C's allocations, because SQLite makes many. docs/performance.md has the gain.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    let status = countersign_server::run().await;
    // The runtime is not awaited, because one of its threads may still be reading standard input.
    std::process::exit(status);
}
