//! The command line: one file for each noun, and their common parts.
//!
//! The guarantee: the output of `--json` is a contract, because programs depend on it; the output
//! for people never lets foreign text control the terminal; and a command that fails prints the
//! reason in one sentence on standard error, and exits with 1.
//!
//! Administration opens the ledger itself, so it works with and without a running server.

mod activation;
mod admin;
mod answer;
mod backup;
mod ca;
mod client;
mod config;
mod count;
mod delivery;
mod demo;
mod device;
mod evidence;
mod frame;
mod history;
mod identity;
mod key;
mod ledger;
mod master_key;
mod moving;
mod paint;
mod parent;
mod pin;
mod qr;
mod serve;
mod shell;
mod signature_file;
mod table;
mod tenant;
mod transaction;
mod user;
mod validity;
mod verify;

use clap::{Parser, Subcommand};

use crate::version;

/// Asks a user to sign something on their device, and returns a signature that it has verified.
///
/// `countersign demo` shows all of it in a few seconds. Each command has --help.
#[derive(Debug, Parser)]
#[command(name = "countersign", version = version::LONG, max_term_width = 100, after_help = FIRST_STEPS)]
struct Cli {
    #[command(subcommand)]
    noun: Noun,
}

const FIRST_STEPS: &str = "\
First steps, with the server running in another terminal (countersign serve):

  countersign tenant create acme
  countersign client create 'Acme Shop' --tenant acme
  countersign user create jane --tenant acme
  countersign activation create jane --tenant acme
  countersign device enrol --server https://localhost:8443 --ca data/tls/ca.pem \\
      --tenant acme --user jane --code CODE --out phone.json
  countersign device run phone.json --answer ask";

#[derive(Debug, Subcommand)]
enum Noun {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Init(ledger::Init),
    Migrate(ledger::Migrate),
    /// The configuration: check a file, show what is in effect, print the manual.
    #[command(subcommand)]
    Config(config::Command),
    Backup(backup::Backup),
    Restore(backup::Restore),
    /// The master key, which seals the ledger's secrets: list, rotate and remove keys.
    #[command(subcommand)]
    MasterKey(master_key::Command),
    /// Tenants: each has its own users, clients, keys and certificate authority.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Clients: applications that ask for signatures.
    #[command(subcommand)]
    Client(client::Command),
    /// API keys of applications that call OneSpan's gateway for phones.
    #[command(subcommand)]
    Key(key::Command),
    /// Users, who sign.
    #[command(subcommand)]
    User(user::Command),
    /// Activation codes, with which devices are enrolled.
    #[command(subcommand)]
    Activation(activation::Command),
    /// Devices: enrol and run one on the command line; list and lock those in the ledger.
    #[command(subcommand)]
    Device(device::Command),
    /// PINs of devices: have one forgotten.
    #[command(subcommand)]
    Pin(pin::Command),
    /// Signing identities of devices: list, disable and label them.
    #[command(subcommand)]
    Identity(identity::Command),
    /// Transactions, and their results.
    #[command(subcommand)]
    Transaction(transaction::Command),
    /// Deliveries that have not been accepted yet.
    #[command(subcommand)]
    Delivery(delivery::Command),
    History(history::History),
    /// The tenants' certificate authorities.
    #[command(subcommand)]
    Ca(ca::Command),
    Verify(verify::Verify),
}

/// Runs the command; returns the process's exit status: 0, 1 if it failed, 2 if the command line is
/// invalid.
pub async fn run() -> i32 {
    match Box::pin(Cli::parse().noun.run()).await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {}", answer::sentence(&error));
            1
        }
    }
}

impl Noun {
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Demo(demo) => Box::pin(demo.run()).await,
            Self::Serve(serve) => Box::pin(serve.run()).await,
            Self::Init(init) => init.run().await,
            Self::Migrate(migrate) => Box::pin(migrate.run()).await,
            Self::Config(command) => command.run(),
            Self::Backup(backup) => backup.run().await,
            Self::Restore(restore) => restore.run().await,
            Self::MasterKey(command) => command.run().await,
            Self::Tenant(command) => Box::pin(command.run()).await,
            Self::Client(command) => command.run().await,
            Self::Key(command) => command.run().await,
            Self::User(command) => command.run().await,
            Self::Activation(command) => command.run().await,
            Self::Device(command) => Box::pin(command.run()).await,
            Self::Pin(command) => command.run().await,
            Self::Identity(command) => Box::pin(command.run()).await,
            Self::Transaction(command) => command.run().await,
            Self::Delivery(command) => command.run().await,
            Self::History(history) => history.run().await,
            Self::Ca(command) => command.run().await,
            Self::Verify(verify) => verify.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_flags_of_a_command_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_flag_says_what_it_is() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "`{name}` says nothing");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "`{id}` of `{name}` says nothing");
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn the_synopsis_is_understood() {
        for line in [
            "demo --once --data d",
            "serve --config c --data d --listen 127.0.0.1:0",
            "tenant create acme --data d --json",
            "transaction list --tenant acme --cursor e17 --limit 9",
            "delivery list --tenant acme --cursor 17",
            "pin reset 17 --tenant acme --config c --json",
            "device set-pin phone.json --pin 1357 --old 2468 --json",
            "tenant lock acme --data d --json",
            "tenant unlock acme --json",
            "tenant delete acme --with-evidence --json",
            "tenant list --data d --json",
            "client create Shop --tenant acme --data d --json",
            "client create Shop --tenant acme --role ask --role people --role enrol --valid 60",
            "client list --tenant acme --json",
            "client show shop-1 --tenant acme",
            "client rotate-secret shop-1 --tenant acme --keep-old 60 --valid 600",
            "client set-roles shop-1 --tenant acme --role people",
            "client lock shop-1 --tenant acme",
            "client unlock shop-1 --tenant acme",
            "client delete shop-1 --tenant acme",
            "client rotate-webhook-secret shop-1 --tenant acme --finish --data d --json",
            "key create --tenant acme --kind front-end --data d --json",
            "key create --kind back-end",
            "key lock 0123456789abcdef0123456789abcdef",
            "key unlock 0123456789abcdef0123456789abcdef",
            "key delete 0123456789abcdef0123456789abcdef",
            "key list --tenant acme --data d --json",
            "user create jane --tenant acme --data d --json",
            "user list --tenant acme --json",
            "user show jane --tenant acme",
            "user delete jane --tenant acme",
            "user lock jane --tenant acme",
            "user unlock jane --tenant acme",
            "activation create jane --tenant acme --data d --json",
            "activation list --tenant acme --user jane",
            "activation delete 0123456789abcdef0123456789abcdef --tenant acme",
            "tenant distrust acme --root ca.pem",
            "tenant rotate-token-key acme --keep-old 60",
            "device enrol --server https://localhost:1 --ca c --tenant acme --user jane --code C --pin 1 \
             --label a --label b --out phone.json",
            "device run phone.json --answer ask --pin 1 --count 2 --code",
            "device list --tenant acme --user jane --data d --json",
            "device show CSN0000120-1 --tenant acme",
            "device delete 7 --tenant acme",
            "device lock CSN0000120-1 --tenant acme",
            "device lock 7 --tenant acme",
            "device unlock 7 --tenant acme",
            "transaction list --tenant acme --data d --json",
            "transaction show 0000000042 --tenant acme --data d --json",
            "transaction show --client c --reference r --tenant acme",
            "delivery list --tenant acme --dead-letters --limit 10 --data d --json",
            "history --tenant acme --after 12 --limit 10 --data d --json",
            "history --tenant acme --kind user --actor server --subject user:jane --all \
             --since 2026-11-28T00:00:00Z",
            "history --data d",
            "delivery replay 0123456789abcdef0123456789abcdef --tenant acme --json",
            "delivery replay --all --tenant acme --data d",
            "ca export --tenant acme --data d --json",
            "config check --config c.toml --data d --listen 127.0.0.1:1 --json",
            "config show --json",
            "config default",
            "migrate --data d --json",
            "migrate --from d --to postgres://countersign@db/countersign --config c --json",
            "backup b --without-master-key --data d --config c.toml --json",
            "restore b --data d --config c.toml --json",
            "master-key list --data d --json",
            "master-key rotate --config c.toml",
            "master-key remove 0123456789abcdef",
            "verify a.p7m --ca ca.pem",
        ] {
            let words = std::iter::once("countersign").chain(line.split_whitespace());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }
}
