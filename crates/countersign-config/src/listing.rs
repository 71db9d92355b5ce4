//! The configuration as it is in effect: each key with its value and the source of the value.

use std::path::Path;

use super::{Config, Overrides, layers};

/// The compiled-in default, which is also the manual.
pub const DEFAULT: &str = layers::DEFAULT;

/// A key of the configuration. No value is a secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The section.
    pub section: String,
    /// The key's name in the section.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// The source of the value, such as a file; `None` if it is the default.
    pub source: Option<String>,
}

impl Config {
    /// Every key with its value, as [`Config::load`] reads them, in the order of their names.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn entries(file: Option<&Path>, overrides: Overrides) -> anyhow::Result<Vec<Entry>> {
        let layers = layers::lay(file, std::env::vars_os(), overrides)?;
        let entries = layers.keys().map(|value| {
            let (section, key) = value.name.split_once('.').expect("a key is in a section");
            Entry {
                section: section.into(),
                key: key.into(),
                value: value.value.to_string(),
                source: (!value.is_default()).then(|| value.source.to_string()),
            }
        });
        let entries = entries.collect();
        Self::read(layers)?;
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_listing_is_a_configuration_with_the_same_values() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        let text = "[store]\ndata = \"d\"\n[locks]\nwrong_max = 3\n[push]\ntexts = { en = \"a\\\"b\" }\n\
                    [[push.sender]]\nprovider = \"webhook\"\nurl = \"https://a/\"\n\
                    secret_file = \"s\"\n";
        std::fs::write(&file, text).unwrap();
        let entries = Config::entries(Some(&file), Overrides::default()).unwrap();
        let changed: Vec<_> = entries.iter().filter(|entry| entry.source.is_some()).collect();
        let names: Vec<_> = changed.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(names, ["wrong_max", "sender", "texts", "data"]);
        assert!(changed.iter().all(|entry| entry.source.as_deref() == file.to_str()));

        let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for Entry { section, key, value, .. } in &entries {
            sections.entry(section).or_default().push(format!("{key} = {value}\n"));
        }
        let section = |(name, keys): (_, Vec<String>)| format!("[{name}]\n{}", keys.concat());
        let whole: String = sections.into_iter().map(section).collect();
        let again = directory.path().join("again.toml");
        std::fs::write(&again, whole).unwrap();
        let reread = Config::load(Some(&again), Overrides::default()).unwrap();
        let first = Config::load(Some(&file), Overrides::default()).unwrap();
        // A chosen address differs from a default one, although it is the same.
        let shown = |config: &Config| {
            format!("{config:?}").replace("listen_chosen: true", "listen_chosen: false")
        };
        assert_eq!(shown(&reread), shown(&first));
    }
}
