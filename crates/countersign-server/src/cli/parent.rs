//! A process that must not outlive the one that started it.

use tokio::io::AsyncReadExt as _;

/// Waits for the end of standard input: whoever held its other end is gone, however it went.
pub(super) async fn gone() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while input.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}
