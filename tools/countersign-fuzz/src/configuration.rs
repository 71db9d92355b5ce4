//! A configuration file, whoever wrote it: it is read, or refused with a sentence.

use std::path::PathBuf;
use std::sync::LazyLock;

use countersign_config::{Config, Overrides};

/// In memory where there is such a place, since it is written once for each input.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    directory.join(format!("countersign-fuzz-{}.toml", std::process::id()))
});

/// Nothing in a file makes the server panic, and every refusal says why.
pub fn configuration(bytes: &[u8]) {
    std::fs::write(&*FILE, bytes).expect("it can be written");
    let loaded = Config::load(Some(&FILE), Overrides::default());
    let _ = std::fs::remove_file(&*FILE);
    if let Err(error) = loaded {
        assert!(!format!("{error:#}").is_empty());
    }
}
