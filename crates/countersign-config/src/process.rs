//! Facts about the process that are not configuration.

use std::path::PathBuf;

use anyhow::Context as _;

/// The path of this program's file, with which it can be started again.
///
/// # Errors
/// If the system does not know it.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the system does not know the path of this program")
}

/// The directory for files that need not last.
pub fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

/// Whether the user has switched off colours for all programs (no-color.org).
pub fn refuses_colours() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The platform that this program was built for, such as `linux`.
pub fn platform() -> &'static str {
    std::env::consts::OS
}
