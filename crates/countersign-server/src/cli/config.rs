//! `countersign config …`: the manual of the configuration, and what is in effect.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use countersign_config::{Config, Entry, Overrides};
use countersign_delivery::Trust;
use countersign_http::tls;
use countersign_store::private;
use serde::Serialize;

use super::answer;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check a configuration, and the files that it names, as the server would at its start.
    ///
    /// It makes and changes nothing.
    Check {
        #[command(flatten)]
        place: ConfigArgs,
    },
    /// Show every key with its value; a comment names the source of a value that is no default.
    Show {
        #[command(flatten)]
        place: ConfigArgs,
    },
    /// Print the manual: every key with its default and its meaning.
    Default,
}

/// The sources of the configuration, as `countersign serve` has them.
#[derive(Args, Clone, Debug)]
pub(super) struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address for applications and devices
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Print JSON for programs, instead of text for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct CheckedView {
    /// The file, if one was named.
    configuration: Option<String>,
    /// The further files that were checked.
    files: Vec<String>,
}

#[derive(Serialize)]
struct EntryView {
    key: String,
    /// As TOML.
    value: String,
    /// For example a file, or a variable of the environment; `default` otherwise.
    source: String,
}

impl ConfigArgs {
    fn overrides(&self) -> Overrides {
        Overrides { data: self.data.clone(), listen: self.listen, to: None }
    }
}

impl Command {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check { place } => check(&place),
            Self::Show { place } => show(&place),
            Self::Default => answer::line(countersign_config::DEFAULT.trim_end()),
        }
    }
}

fn check(place: &ConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(place.config.as_deref(), place.overrides())?;
    tls::check_files(&config.server)?;
    Trust::check(&config)?;
    for sender in &config.push.senders {
        let file = sender.service.credential_file();
        let metadata = std::fs::metadata(file)
            .map_err(|error| anyhow::anyhow!("{} cannot be read: {error}", file.display()))?;
        private::check(file, &metadata)?;
    }
    let shown = |path: &PathBuf| path.display().to_string();
    let checked = CheckedView {
        configuration: place.config.as_ref().map(shown),
        files: config.other_files().iter().map(shown).collect(),
    };
    answer::print(place.json, &checked, || {
        let file = checked.configuration.as_deref().unwrap_or("(defaults)");
        let files = checked.files.iter().map(|file| format!("\nSo can {file}."));
        format!("The configuration {file} can be used.{}", files.collect::<String>())
    })
}

fn show(place: &ConfigArgs) -> anyhow::Result<()> {
    let entries = Config::entries(place.config.as_deref(), place.overrides())?;
    let views: Vec<_> = entries.iter().map(EntryView::of).collect();
    answer::print(place.json, &views, || text(&entries))
}

/// The entries as a configuration file.
fn text(entries: &[Entry]) -> String {
    let (mut section, mut lines) = ("", Vec::new());
    for entry in entries {
        if entry.section != section {
            if !section.is_empty() {
                lines.push(String::new());
            }
            section = &entry.section;
            lines.push(format!("[{section}]"));
        }
        let source = entry.source.as_ref().map(|source| format!(" # {source}"));
        lines.push(format!("{} = {}{}", entry.key, entry.value, source.unwrap_or_default()));
    }
    lines.join("\n")
}

impl EntryView {
    fn of(entry: &Entry) -> Self {
        Self {
            key: format!("{}.{}", entry.section, entry.key),
            value: entry.value.clone(),
            source: entry.source.clone().unwrap_or_else(|| "default".into()),
        }
    }
}
