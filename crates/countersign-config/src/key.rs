//! One key of the configuration: its name, its value, and the source of the value.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A value that is not yet checked.
#[derive(Clone)]
pub(super) struct UncheckedValue {
    pub(super) name: String,
    pub(super) value: toml::Value,
    pub(super) source: Source,
}

/// The source of a value.
#[derive(Clone)]
pub(super) enum Source {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl UncheckedValue {
    /// The beginning of an error message about this key and `other`, which do not fit together. If
    /// only `other` was set, its source has to be changed.
    pub(super) fn beside(&self, other: &Self) -> String {
        if self.is_default() && !other.is_default() {
            let (source, name, value) = (&other.source, &self.name, &self.value);
            return format!("{source}: `{name}`, which is {value} by default,");
        }
        self.to_string()
    }

    pub(super) fn is_default(&self) -> bool {
        matches!(self.source, Source::Default)
    }

    /// A text, which may be empty.
    pub(super) fn text(&self) -> anyhow::Result<&str> {
        match self.value.as_str() {
            Some(text) => Ok(text),
            None => bail!("{self} is a text in quotes, not {}", self.value),
        }
    }

    /// A text that `T` can be parsed from.
    pub(super) fn parse<T>(&self) -> anyhow::Result<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.text()?;
        match text.parse() {
            Ok(value) => Ok(value),
            Err(reason) => bail!("{self} cannot be \"{text}\": {reason}"),
        }
    }

    /// A list of texts.
    pub(super) fn list<T>(&self) -> anyhow::Result<Vec<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let entries = self.value.as_array().with_context(|| format!("{self} is a list"))?;
        entries
            .iter()
            .map(|value| UncheckedValue { value: value.clone(), ..self.clone() }.parse())
            .collect()
    }

    /// A path; `None` for "".
    pub(super) fn path(&self) -> anyhow::Result<Option<PathBuf>> {
        let text = self.text()?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    /// A positive number; zero is not a limit.
    pub(super) fn count(&self) -> anyhow::Result<u32> {
        match self.value.as_integer().map(u32::try_from) {
            Some(Ok(count)) if count > 0 => Ok(count),
            _ => bail!("{self} is a whole number from 1 to {}, not {}", u32::MAX, self.value),
        }
    }

    /// A number of whole days; zero means no limit.
    pub(super) fn days(&self) -> anyhow::Result<Option<Duration>> {
        match self.value.as_integer().map(u32::try_from) {
            Some(Ok(0)) => Ok(None),
            Some(Ok(days)) => Ok(Some(Duration::from_secs(86_400 * u64::from(days)))),
            _ => bail!("{self} is a whole number from 0 to {}, not {}", u32::MAX, self.value),
        }
    }

    /// A whole number, which may be zero.
    pub(super) fn number(&self) -> anyhow::Result<u32> {
        match self.value.as_integer().map(u32::try_from) {
            Some(Ok(number)) => Ok(number),
            _ => bail!("{self} is a whole number from 0 to {}, not {}", u32::MAX, self.value),
        }
    }

    /// A Boolean.
    pub(super) fn yes(&self) -> anyhow::Result<bool> {
        match self.value.as_bool() {
            Some(yes) => Ok(yes),
            None => bail!("{self} is true or false, not {}", self.value),
        }
    }

    /// A number of whole seconds.
    pub(super) fn seconds(&self) -> anyhow::Result<Duration> {
        Ok(Duration::from_secs(u64::from(self.count()?)))
    }
}

/// The beginning of an error message: the source of the value, and the key.
impl fmt::Display for UncheckedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.source, self.name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("config.default.toml"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}
