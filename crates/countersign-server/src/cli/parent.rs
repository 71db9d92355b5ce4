//! The end of the process that started this one, which must not be outlived.

use tokio::io::AsyncReadExt as _;

/// Waits for the end of standard input: it closes when the process at its other end has ended.
pub(super) async fn gone() {
    let mut input = tokio::io::stdin();
    let mut bytes = [0; 64];
    while input.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}
