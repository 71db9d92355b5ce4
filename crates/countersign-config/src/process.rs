//! What the process learns of its surroundings besides its configuration.

use std::path::PathBuf;

use anyhow::Context as _;

/// This program's own file, to start it once more.
///
/// # Errors
/// When the system does not tell.
pub fn own_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("the system does not tell where this program is")
}

/// Where things may be put that need not last.
pub fn temporary_directory() -> PathBuf {
    std::env::temp_dir()
}

/// Whether the person wants no colours anywhere (no-color.org).
pub fn refuses_colours() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The kind of machine that this program was built for, such as `linux`.
pub fn platform() -> &'static str {
    std::env::consts::OS
}
