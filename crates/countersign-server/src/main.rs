//! The process: reads its configuration, serves, drains.

mod authority;
mod channel;
mod clock;
mod config;
mod doorbell;
mod held;
mod listen;
mod observe;
mod serve;
mod surface;
mod task;
mod tls;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    serve::serve(None, config::Overrides::default()).await
}
