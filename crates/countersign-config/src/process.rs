//! Facts about the process that are not configuration.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

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

/// The socket of the service manager that started this process, if it wants to be told its state
/// (`sd_notify(3)`).
pub fn notify_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}

/// The time without a sign of life after which the service manager ends this process, if it does
/// (`sd_watchdog_enabled(3)`).
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_other = number("WATCHDOG_PID").is_some_and(|id| id != u64::from(std::process::id()));
    let microseconds = number("WATCHDOG_USEC").filter(|time| *time > 0 && !is_other)?;
    Some(Duration::from_micros(microseconds))
}

/// The platform that this program was built for, such as `linux`.
pub fn platform() -> &'static str {
    std::env::consts::OS
}
