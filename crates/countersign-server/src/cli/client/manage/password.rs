//! `countersign client set-password` and `remove-password`: the account with which a client obtains
//! tokens by password.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use countersign_core::id::UserName;
use countersign_core::refusal::{AdminError, AdminRefusal};
use countersign_core::tenant::Account;
use serde::Serialize;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::{ClientArgs, print};
use crate::cli::admin::Admin;
use crate::cli::answer;
use crate::cli::client::new_secret;
use countersign_http::caller::password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, hash};

#[derive(Args, Debug)]
pub(in crate::cli) struct SetPassword {
    #[command(flatten)]
    one: ClientArgs,
    /// The name of the account, which the client sends as `username`
    #[arg(long, value_name = "NAME")]
    account: UserName,
    /// A file whose first line is the password [default: a new one, which is shown once]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The data for a client that has an account.
#[derive(Serialize, ZeroizeOnDrop)]
struct NewPassword {
    client_id: String,
    account: String,
    /// 256 random bits; null if the operator chose the password.
    password: Option<String>,
}

impl SetPassword {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<()> {
        let Self { one, account, password_file } = self;
        let (password, is_chosen) = match &password_file {
            Some(file) => {
                let read = std::fs::read_to_string(file).map(Zeroizing::new);
                let text = read.with_context(|| format!("cannot read {}", file.display()))?;
                let line = text.lines().next().unwrap_or_default();
                (Zeroizing::new(line.to_owned()), true)
            }
            None => (Zeroizing::new(new_secret()), false),
        };
        ensure!(
            password.chars().count() >= PASSWORD_CHARS_MIN && password.len() <= PASSWORD_BYTES_MAX,
            "a password has at least {PASSWORD_CHARS_MIN} characters and at most {PASSWORD_BYTES_MAX} bytes"
        );
        let admin = Admin::at(&one.place).await?;
        let (tenant, id) = (&one.tenant, &one.id);
        admin.check_tenant(tenant).await?;
        let new = Account { name: account.clone(), hash: hash(&password)? };
        match admin.core.set_client_account(&admin.actor, tenant, id, Some(new)).await {
            Ok(_) => {}
            Err(AdminError::Refused(AdminRefusal::UnknownClient)) => {
                bail!("tenant {tenant} has no client {id}: `countersign client list`")
            }
            Err(error) => return Err(error.into()),
        }
        let new = NewPassword {
            client_id: id.to_string(),
            account: account.to_string(),
            password: (!is_chosen).then(|| password.to_string()),
        };
        answer::print(admin.json, &new, || {
            let allowed =
                format!("Client {id} obtains tokens with the password of {account}, too.");
            match &new.password {
                Some(password) => {
                    format!("{allowed} The password is shown once:\n\n{password}")
                }
                None => allowed,
            }
        })?;
        admin.close().await
    }
}

impl ClientArgs {
    /// Takes the client's account away; a client without one stays as it is.
    pub(in crate::cli) async fn remove_password(self) -> anyhow::Result<()> {
        let admin = Admin::at(&self.place).await?;
        admin.check_tenant(&self.tenant).await?;
        let (actor, core) = (&admin.actor, &admin.core);
        let changed = core.set_client_account(actor, &self.tenant, &self.id, None).await;
        let client = self.changed(&admin, changed).await?;
        print(&admin, &client)?;
        admin.close().await
    }
}
