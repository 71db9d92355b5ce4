//! `countersign tenant …`.

use anyhow::bail;
use clap::Subcommand;
use countersign_core::id::TenantName;
use countersign_core::port::{Created, Registry as _};
use countersign_core::tenant::Tenant;
use serde::Serialize;

use super::answer;
use super::desk::{Desk, Place};
use super::table::Table;
use crate::authority::found_tenant;
use crate::moment;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a tenant, with a certificate authority of its own.
    ///
    /// The name stands in host names (acme.sign.example.com) and in paths (/auth/realms/acme), so it is
    /// one DNS label in lower case. The ledger is made where there is none yet.
    #[command(after_help = "Example:\n  countersign tenant create acme --data data")]
    Create {
        /// The tenant's name: lower-case letters, digits and dashes
        name: TenantName,
        #[command(flatten)]
        place: Place,
    },
    /// List the tenants.
    List {
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Serialize)]
struct Made {
    name: String,
    created_at: String,
}

impl Command {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Create { name, place } => {
                let desk = Desk::at_new(&place)?;
                let Some(tenant) = create(&desk, &name).await? else {
                    bail!("there is a tenant {name} already");
                };
                let made = made(&tenant);
                answer::print(desk.json, &made, || {
                    format!(
                        "Tenant {name} is made, with its own CA: `countersign ca export --tenant {name}`."
                    )
                })?;
                desk.close().await
            }
            Self::List { place } => {
                let desk = Desk::at(&place)?;
                let mut tenants = Vec::new();
                for name in desk.store.tenants().await? {
                    tenants.extend(desk.store.tenant(&name).await?.as_ref().map(made));
                }
                answer::print(desk.json, &tenants, || {
                    let mut table = Table::new(&["TENANT", "CREATED"]);
                    for made in &tenants {
                        table.row(&[&made.name, &made.created_at]);
                    }
                    table.text("There are no tenants yet: `countersign tenant create NAME`.")
                })?;
                desk.close().await
            }
        }
    }
}

fn made(tenant: &Tenant) -> Made {
    Made { name: tenant.name.to_string(), created_at: moment::brief(tenant.created_at) }
}

/// Makes a tenant. `None`: there is one of that name already.
///
/// # Errors
/// When the ledger fails.
pub(super) async fn create(desk: &Desk, name: &TenantName) -> anyhow::Result<Option<Tenant>> {
    let tenant = found_tenant(name.clone(), desk.now())?;
    match desk.store.create_tenant(tenant.clone()).await? {
        Created::Made => Ok(Some(tenant)),
        Created::Exists => Ok(None),
    }
}
