//! `countersign client …`: creating a client, and the secret of its callbacks. `manage.rs` has what
//! is done to existing clients.

mod manage;

use std::time::Duration;

use anyhow::{bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL};
use clap::Subcommand;
use countersign_core::id::{ClientId, TenantName};
use countersign_core::name::normal_form;
use countersign_core::port::Keys as _;
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::role::{Role, Roles};
use countersign_core::secret::Key32;
use countersign_core::tenant::{Client, ClientSecret, CredentialState, PasswordGrant};
use serde::{Deserialize, Serialize};
use zeroize::{ZeroizeOnDrop, Zeroizing};

pub(super) use self::manage::VALID_SECONDS_MAX;
use self::manage::password::SetPassword;
use self::manage::{ClientArgs, ClientRole, ListClients};
use super::admin::{Admin, LedgerArgs};
use super::answer;
use super::table;
use countersign_config::Scopes;
use countersign_http::caller::secret_digest;
use countersign_http::time_format;

/// Characters of the client's name at the beginning of its id.
const SLUG_MAX: usize = 32;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a client: an application that may ask this tenant's users for signatures.
    ///
    /// Prints its credentials, which are shown only once: client id and secret for access tokens,
    /// and the secret with which receivers verify callbacks (Standard Webhooks).
    #[command(after_help = "Examples:\n  \
        countersign client create 'Acme Shop' --tenant acme --json\n  \
        countersign client create 'Acme Office' --tenant acme --role people --role enrol")]
    Create {
        /// The name that users see when they are asked to sign
        #[arg(value_parser = name)]
        name: String,
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        /// A role: what it may do, in every dialect; may be repeated [default: ask]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<ClientRole>,
        /// The lifetime of its secret [default: for ever]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=VALID_SECONDS_MAX))]
        valid: Option<u64>,
        /// A scope that its tokens may have in TrustedX's dialect; may be repeated [default: all]
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
        #[command(flatten)]
        place: LedgerArgs,
    },
    /// List the clients of a tenant.
    List(ListClients),
    /// Show a client: its roles, its state and the ends of its secrets.
    Show(ClientArgs),
    /// Give a client another secret, which is shown only once.
    ///
    /// The old secret ends at once, with all access tokens that were obtained with it, unless
    /// --keep-old names a time for which both are accepted.
    #[command(
        after_help = "Example:\n  countersign client rotate-secret acme-shop-90c5e04f11 --tenant acme --keep-old 3600"
    )]
    RotateSecret {
        #[command(flatten)]
        one: ClientArgs,
        /// How long the old secret stays valid [default: it ends at once]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=VALID_SECONDS_MAX))]
        keep_old: Option<u64>,
        /// The lifetime of the new secret [default: for ever]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=VALID_SECONDS_MAX))]
        valid: Option<u64>,
    },
    /// Set what a client may do, from its next call on. Roles that are not named are taken away.
    SetRoles {
        #[command(flatten)]
        one: ClientArgs,
        /// A role; may be repeated [default: ask]
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<ClientRole>,
    },
    /// Let a client obtain tokens with the name and the password of an account, too.
    ///
    /// This is OAuth's grant `password`, at KOBIL's token address; the client authenticates as
    /// well. It has one account at most. A new password ends the tokens that were obtained with
    /// the one before.
    #[command(after_help = "Example:\n  countersign client set-password acme-shop-90c5e04f11 \
        --tenant acme --account robot")]
    SetPassword(SetPassword),
    /// Take a client's account away, and with it the grant and the tokens by password.
    RemovePassword(ClientArgs),
    /// Lock a client: from its next call on, its secrets and its tokens are refused.
    Lock(ClientArgs),
    /// Unlock a client.
    Unlock(ClientArgs),
    /// Delete a client: its secrets and tokens end, and its open transactions are cancelled.
    ///
    /// Ended transactions stay. Callbacks that were not delivered yet are not made any more.
    Delete(ClientArgs),
    /// Change the secret that signs a client's callbacks.
    ///
    /// The first step creates a new secret, which is shown only once; from then on each callback
    /// carries two signatures, so that receivers can be changed one by one. The second step, with
    /// --finish, ends the old secret.
    #[command(
        after_help = "Example:\n  countersign client rotate-webhook-secret acme-shop-90c5e04f11 --tenant acme"
    )]
    RotateWebhookSecret {
        /// The client's id
        id: ClientId,
        /// From now on sign with the new secret only
        #[arg(long)]
        finish: bool,
        /// The tenant
        #[arg(long)]
        tenant: TenantName,
        #[command(flatten)]
        place: LedgerArgs,
    },
}

/// The data for a client's receivers.
#[derive(Serialize, ZeroizeOnDrop)]
struct Rotated {
    client_id: String,
    /// The new secret; `None` after `--finish`.
    webhook_secret: Option<String>,
    /// Whether the old secret signs as well.
    both_sign: bool,
}

/// A new client's credentials. Only their digests and sealed keys are stored.
#[derive(Deserialize, Serialize, ZeroizeOnDrop)]
pub(super) struct Credentials {
    /// The name that users see.
    pub(super) name: String,
    /// The id with which it authenticates.
    pub(super) client_id: String,
    /// 256 random bits.
    pub(super) client_secret: String,
    /// 256 random bits, in the format of Standard Webhooks.
    pub(super) webhook_secret: String,
    /// The client's tenant.
    pub(super) tenant: String,
    /// The names of its roles.
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// When the secret ends; `None` for never.
    #[serde(default)]
    pub(super) secret_expires_at: Option<String>,
}

/// A client to create.
pub(super) struct NewClient<'a> {
    pub(super) name: &'a str,
    pub(super) roles: Roles,
    /// The scopes of its tokens; `None` for all.
    pub(super) scopes: Option<Vec<String>>,
    /// The lifetime of its secret; `None` for ever.
    pub(super) valid: Option<Duration>,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { name, tenant, roles, valid, scope, place } => {
                let admin = Admin::at(&place).await?;
                let scopes =
                    (!scope.is_empty()).then(|| known(&admin.config.trustedx.scopes, scope));
                let new = NewClient {
                    name: &name,
                    roles: manage::of(&roles),
                    scopes: scopes.transpose()?,
                    valid: valid.map(Duration::from_secs),
                };
                let Some(made) = create(&admin, &tenant, new).await? else {
                    bail!("tenant {tenant} has a client \"{name}\" already");
                };
                answer::print(admin.json, &made, || shown(&made))?;
                admin.close().await
            }
            Self::List(list) => list.run().await,
            Self::Show(one) => one.show().await,
            Self::RotateSecret { one, keep_old, valid } => {
                let seconds = Duration::from_secs;
                one.rotate_secret(keep_old.map(seconds), valid.map(seconds)).await
            }
            Self::SetRoles { one, roles } => one.set_roles(roles).await,
            Self::SetPassword(set) => set.run().await,
            Self::RemovePassword(one) => one.remove_password().await,
            Self::Lock(one) => one.set_state(CredentialState::Locked).await,
            Self::Unlock(one) => one.set_state(CredentialState::Active).await,
            Self::Delete(one) => one.delete().await,
            Self::RotateWebhookSecret { id, finish, tenant, place } => {
                rotate(&id, finish, &tenant, &place).await
            }
        }
    }
}

fn shown(made: &Credentials) -> String {
    let Credentials { name, tenant, .. } = made;
    let roles = made.roles.join(", ");
    let entries = table::list(&[
        ("client_id", made.client_id.clone()),
        ("client_secret", made.client_secret.clone()),
        ("webhook_secret", made.webhook_secret.clone()),
    ]);
    format!(
        "Client \"{name}\" of {tenant} is made, with the roles {roles}. \
         These are shown once:\n\n{entries}"
    )
}

/// Checks that all scopes are known.
fn known(scopes: &Scopes, named: Vec<String>) -> anyhow::Result<Vec<String>> {
    let all = scopes.all();
    for scope in &named {
        ensure!(
            all.contains(&scope.as_str()),
            "{scope} is not one of the scopes {}",
            all.join(", ")
        );
    }
    Ok(named)
}

async fn rotate(
    id: &ClientId,
    finish: bool,
    tenant: &TenantName,
    place: &LedgerArgs,
) -> anyhow::Result<()> {
    let admin = Admin::at(place).await?;
    admin.check_tenant(tenant).await?;
    let (secret, new) = if finish {
        (None, None)
    } else {
        let (secret, key) = admin.keys.generate_callback_key(tenant, id).await?;
        (Some(secret), Some(key))
    };
    match admin.core.rotate_callback_key(&admin.actor, tenant, id, new).await {
        Ok(()) => {}
        Err(AdminError::Refused(AdminRefusal::UnknownClient)) => {
            bail!("tenant {tenant} has no client {id}")
        }
        Err(AdminError::Refused(AdminRefusal::ManyKeys)) => {
            bail!("two secrets of {id} sign already: end the older one with --finish first")
        }
        Err(error) => return Err(error.into()),
    }
    let rotated = Rotated {
        client_id: id.to_string(),
        webhook_secret: secret.as_ref().map(webhook_secret),
        both_sign: !finish,
    };
    answer::print(admin.json, &rotated, || match &rotated.webhook_secret {
        Some(secret) => {
            format!("Callbacks carry two signatures now. The new secret is shown once:\n\n{secret}")
        }
        None => "Callbacks are signed with the newest secret only.".to_owned(),
    })?;
    admin.close().await
}

/// A key in the format of Standard Webhooks.
fn webhook_secret(key: &Key32) -> String {
    format!("whsec_{}", BASE64.encode(key.expose()))
}

/// Creates a client. `None` if the name is in use.
///
/// # Errors
/// If the tenant does not exist, or the ledger fails.
pub(super) async fn create(
    admin: &Admin,
    tenant: &TenantName,
    new: NewClient<'_>,
) -> anyhow::Result<Option<Credentials>> {
    admin.check_tenant(tenant).await?;
    let NewClient { name, roles, scopes, valid } = new;
    let (id, now) = (client_id(name), admin.now());
    let client_secret = new_secret();
    let not_after = valid.map(|valid| now + valid);
    let (secret, callback_key) = admin.keys.generate_callback_key(tenant, &id).await?;
    let client = Client {
        tenant: tenant.clone(),
        id: id.clone(),
        name: name.to_owned(),
        roles,
        state: CredentialState::Active,
        tenant_locked: false,
        secret_number: 1,
        secret: ClientSecret { digest: secret_digest(&client_secret), not_after },
        secret_before: None,
        password: PasswordGrant::default(),
        scopes,
        created_at: now,
    };
    let is_new = match admin.core.create_client(&admin.actor, client, callback_key).await {
        Ok(()) => true,
        Err(AdminError::Refused(AdminRefusal::Exists)) => false,
        Err(error) => return Err(error.into()),
    };
    let credentials = Credentials {
        name: name.to_owned(),
        client_id: id.to_string(),
        client_secret,
        webhook_secret: webhook_secret(&secret),
        tenant: tenant.to_string(),
        roles: roles.iter().map(|role| Role::as_str(role).to_owned()).collect(),
        secret_expires_at: not_after.map(time_format::exact),
    };
    Ok(is_new.then_some(credentials))
}

/// A new secret: 256 random bits.
fn new_secret() -> String {
    format!("cs_{}", BASE64URL.encode(*random::<32>()))
}

/// The name in characters that an id may have, and 40 random bits.
fn client_id(name: &str) -> ClientId {
    let mut slug = String::new();
    for letter in name.chars().map(|letter| letter.to_ascii_lowercase()) {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(SLUG_MAX);
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "client" } else { slug };
    let id = format!("{slug}-{}", hex::encode(*random::<5>()));
    id.parse().expect("letters, digits and dashes are a client id")
}

pub(super) fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    aws_lc_rs::rand::fill(&mut *bytes).expect("the system gives random bytes");
    bytes
}

fn name(text: &str) -> anyhow::Result<String> {
    Ok(normal_form(text)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_says_the_name_and_is_another_one_each_time() {
        for (name, slug) in [
            ("Acme Shop", "acme-shop-"),
            ("  Zoë & Söhne: €!", "zo-s-hne-"),
            ("日本", "client-"),
            (&"a b".repeat(40), "ab ab"),
        ] {
            let id = client_id(name);
            if slug != "ab ab" {
                assert!(id.as_str().starts_with(slug), "{id}");
            }
            assert!(id.as_str().len() <= SLUG_MAX + 11, "{id}");
            assert_ne!(id, client_id(name));
        }
    }

    #[test]
    fn a_name_fits_one_line() {
        for bad in ["", " ", " a", "a\n", "a\u{1b}b", &"a".repeat(256)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(name("Zoë & Söhne").unwrap(), "Zoë & Söhne");
    }
}
