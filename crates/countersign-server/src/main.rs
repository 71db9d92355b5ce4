//! The binary `countersign`: the server, its administration, and a device for the command line.

/// For C's allocations, too: SQLite's are many. docs/performance.md says what it gains.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() {
    let status = countersign_server::run().await;
    // The runtime is not waited for: a thread of its own may still be reading standard input.
    std::process::exit(status);
}
