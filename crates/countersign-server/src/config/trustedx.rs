//! `[trustedx]`: the surface that speaks as Safelayer's `TrustedX` does.

use anyhow::ensure;

use super::key::Key;
use super::layers::Layers;

/// How this surface is run.
#[derive(Clone, Debug)]
pub(crate) struct TrustedXConfig {
    /// What its tokens are good for.
    pub(crate) scopes: Scopes,
}

/// The names of its scopes, all different.
#[derive(Clone, Debug)]
pub(crate) struct Scopes {
    /// To ask for signatures, to read what came of them and to delete them.
    pub(crate) sign: String,
    /// To read signing identities.
    pub(crate) profile: String,
    /// To enable, disable and delete signing identities.
    pub(crate) manage: String,
    /// To register signing identities.
    pub(crate) register: String,
}

impl TrustedXConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        Ok(Self { scopes: Scopes::read(layers)? })
    }
}

impl Scopes {
    fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        let mut name = |key| scope(&layers.take(key));
        let scopes = Self {
            sign: name("trustedx.scope_sign")?,
            profile: name("trustedx.scope_profile")?,
            manage: name("trustedx.scope_manage")?,
            register: name("trustedx.scope_register")?,
        };
        let all = scopes.all();
        let twice = (1..all.len()).find(|nth| all[..*nth].contains(&all[*nth]));
        ensure!(twice.is_none(), "`trustedx.scope_…` are four names, and two of them are the same");
        Ok(scopes)
    }

    /// All of them.
    pub(crate) fn all(&self) -> [&str; 4] {
        [&self.sign, &self.profile, &self.manage, &self.register]
    }
}

/// RFC 6749, section 3.3.
fn scope(key: &Key) -> anyhow::Result<String> {
    let text = key.text()?;
    let fits = text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
    ensure!(
        fits && (1..=255).contains(&text.len()),
        "{key} is 1 to 255 visible characters without quotes and backslashes, not {}",
        key.value
    );
    Ok(text.to_owned())
}
