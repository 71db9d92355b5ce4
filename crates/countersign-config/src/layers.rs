//! The configuration before it is typed: the default file, with the other sources laid over it, key
//! by key.
//!
//! Each value keeps its source, so that an error message can say which line of which file to
//! change.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, bail};

use super::Overrides;
use super::key::{Source, UncheckedValue};

/// The compiled-in default, which is also the manual.
pub(super) const DEFAULT: &str = include_str!("config.default.toml");

const ENVIRONMENT_PREFIX: &str = "COUNTERSIGN__";

/// Every key, by its name (`server.listen`). Sections take their keys out of it.
pub(super) struct Layers(BTreeMap<String, UncheckedValue>);

/// Lays the compiled-in default, then `file`, then the environment, then `overrides`.
pub(super) fn lay(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    overrides: Overrides,
) -> anyhow::Result<Layers> {
    let mut layers = Layers::compiled_in();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        layers.lay_file(path, &text)?;
    }
    layers.lay_environment(environment)?;
    if let Some(data) = overrides.data {
        let data = data.to_str().context("--data is not UTF-8")?;
        layers.lay_flag("--data", "store.data", data);
    }
    if let Some(listen) = overrides.listen {
        layers.lay_flag("--listen", "server.listen", &listen.to_string());
    }
    if let Some(to) = overrides.to {
        layers.lay_flag("--to", "store.url", &to);
    }
    Ok(layers)
}

impl Layers {
    /// All keys, by name.
    pub(super) fn keys(&self) -> impl Iterator<Item = &UncheckedValue> {
        self.0.values()
    }

    pub(super) fn compiled_in() -> Self {
        let sections: toml::Table = DEFAULT.parse().expect("the compiled-in default is TOML");
        let mut keys = BTreeMap::new();
        for (section, content) in sections {
            let toml::Value::Table(content) = content else {
                panic!("`{section}` of the compiled-in default stands outside a section")
            };
            for (key, value) in content {
                let name = format!("{section}.{key}");
                keys.insert(name.clone(), UncheckedValue { name, value, source: Source::Default });
            }
        }
        Self(keys)
    }

    pub(super) fn lay_file(&mut self, path: &Path, text: &str) -> anyhow::Result<()> {
        let file = path.display();
        let sections: toml::Table = text.parse().with_context(|| format!("{file} is not TOML"))?;
        for (section, content) in sections {
            let toml::Value::Table(content) = content else {
                bail!("{file}: `{section}` is not a section; keys belong into one");
            };
            for (key, mut value) in content {
                let name = format!("{section}.{key}");
                place(&name, &mut value, path.parent().unwrap_or(Path::new("")))
                    .with_context(|| format!("the path of {file} is not UTF-8"))?;
                self.lay(name, value, Source::File(path.to_owned()))?;
            }
        }
        Ok(())
    }

    pub(super) fn lay_environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> anyhow::Result<()> {
        for (variable, value) in variables {
            let Some(variable) = variable.to_str() else { continue };
            let Some(path) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let name = path.to_lowercase().replace("__", ".");
            let source = Source::Environment(variable.to_owned());
            let Some(value) = value.to_str() else {
                bail!("{source}: `{name}` is not UTF-8");
            };
            let value = self.read_as_before(&name, value);
            self.lay(name, value, source)?;
        }
        Ok(())
    }

    pub(super) fn lay_flag(&mut self, flag: &'static str, name: &str, value: &str) {
        let value = toml::Value::String(value.to_owned());
        self.lay(name.to_owned(), value, Source::Flag(flag)).expect("flags name keys that exist");
    }

    /// Takes a key out, so that the keys that remain at the end are those that no section reads.
    pub(super) fn take(&mut self, name: &str) -> UncheckedValue {
        self.0
            .remove(name)
            .unwrap_or_else(|| panic!("config.default.toml lacks `{name}`, or it is read twice"))
    }

    pub(super) fn assert_all_read(&self) {
        assert!(self.0.is_empty(), "no section reads {:?}", self.0.keys());
    }

    fn lay(&mut self, name: String, value: toml::Value, source: Source) -> anyhow::Result<()> {
        let Some(key) = self.0.get_mut(&name) else {
            let section = name.split('.').next().unwrap_or_default();
            let near: Vec<&str> = self
                .0
                .keys()
                .filter_map(|known| known.strip_prefix(section)?.strip_prefix('.'))
                .collect();
            if near.is_empty() {
                bail!("{source}: `{name}` is not a key, nor `{section}` a section");
            }
            bail!("{source}: `{name}` is not a key; `{section}` has {}", near.join(", "));
        };
        *key = UncheckedValue { name, value, source };
        Ok(())
    }

    /// Reads a variable's text as the type that the key has by default. A text that cannot be read
    /// so stays a text, and the section refuses it.
    fn read_as_before(&self, name: &str, text: &str) -> toml::Value {
        let as_text = toml::Value::String(text.to_owned());
        match self.0.get(name).map(|key| &key.value) {
            Some(toml::Value::Integer(_)) => text.parse().map_or(as_text, toml::Value::Integer),
            Some(toml::Value::Boolean(_)) => text.parse().map_or(as_text, toml::Value::Boolean),
            Some(toml::Value::Array(_)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                parts.map(|part| toml::Value::String(part.to_owned())).collect::<Vec<_>>().into()
            }
            _ => as_text,
        }
    }
}

/// Makes paths absolute, also in lists of tables. Paths are relative to the file that names them.
fn place(name: &str, value: &mut toml::Value, directory: &Path) -> Option<()> {
    match value {
        toml::Value::String(relative) if is_path(name) && !relative.is_empty() => {
            let absolute = directory.join(&relative).into_os_string().into_string();
            *relative = absolute.ok()?;
        }
        toml::Value::Array(entries) => {
            for entry in entries {
                place(name, entry, directory)?;
            }
        }
        toml::Value::Table(table) => {
            for (key, value) in table {
                place(key, value, directory)?;
            }
        }
        _ => {}
    }
    Some(())
}

fn is_path(name: &str) -> bool {
    name == "store.data" || name.ends_with("_file")
}
