//! The configuration, read once at the start into checked types.
//!
//! The manual is `config.default.toml` beside this file. It is compiled in, and names every key
//! with its default and its reason. A file, the environment and flags override it, in this order.
//! This is the only module that reads the environment.

#![allow(
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "an internal crate: its interface is for the server's other crates"
)]

mod certificates;
mod channel;
mod delivery;
mod enrolment;
mod files;
mod key;
mod layers;
mod listing;
mod locks;
mod observe;
mod onespan;
mod process;
mod push;
mod retention;
mod server;
mod store;
mod tokens;
mod transactions;
mod trustedx;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use self::certificates::CertificatesConfig;
pub use self::channel::ChannelConfig;
pub use self::delivery::DeliveryConfig;
pub use self::enrolment::EnrolmentConfig;
pub use self::listing::{DEFAULT, Entry};
pub use self::locks::LocksConfig;
pub use self::observe::{LogFormat, ObserveConfig};
pub use self::onespan::{Component, OneSpanConfig};
pub use self::process::{
    notify_socket, own_program, platform, refuses_colours, temporary_directory, watchdog,
};
pub use self::push::{ApnsPushType, PushConfig, SenderConfig, ServiceConfig};
pub use self::retention::RetentionConfig;
pub use self::server::{PublicAddress, ServerConfig, Shares, Tls};
pub use self::store::{PostgresConfig, StoreConfig};
pub use self::tokens::TokensConfig;
pub use self::transactions::TransactionsConfig;
pub use self::trustedx::{DeviceType, FetchHost, Scopes, TrustedXConfig};

use self::layers::Layers;

/// The whole configuration, one field a section.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[transactions]`
    pub transactions: TransactionsConfig,
    /// `[tokens]`
    pub tokens: TokensConfig,
    /// `[enrolment]`
    pub enrolment: EnrolmentConfig,
    /// `[certificates]`
    pub certificates: CertificatesConfig,
    /// `[locks]`
    pub locks: LocksConfig,
    /// `[channel]`
    pub channel: ChannelConfig,
    /// `[onespan]`
    pub onespan: OneSpanConfig,
    /// `[trustedx]`
    pub trustedx: TrustedXConfig,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[push]`
    pub push: PushConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[retention]`
    pub retention: RetentionConfig,
    /// `[observe]`
    pub observe: ObserveConfig,
}

/// The command line's flags, which override every file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--data`: the data directory.
    pub data: Option<PathBuf>,
    /// `--listen`: the address on which applications and devices are served.
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// Reads the compiled-in default, then `file`, then the environment, then `overrides`.
    ///
    /// # Errors
    /// Names the key, the source of its value, and the values that are allowed.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> anyhow::Result<Self> {
        Self::from_layers(file, std::env::vars_os(), overrides)
    }

    fn from_layers(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: Overrides,
    ) -> anyhow::Result<Self> {
        Self::read(layers::lay(file, environment, overrides)?)
    }

    fn read(mut layers: Layers) -> anyhow::Result<Self> {
        let certificates = CertificatesConfig::read(&mut layers)?;
        let config = Self {
            server: ServerConfig::read(&mut layers, certificates.clone())?,
            transactions: TransactionsConfig::read(&mut layers)?,
            tokens: TokensConfig::read(&mut layers)?,
            enrolment: EnrolmentConfig::read(&mut layers)?,
            certificates,
            locks: LocksConfig::read(&mut layers)?,
            channel: ChannelConfig::read(&mut layers)?,
            onespan: OneSpanConfig::read(&mut layers)?,
            trustedx: TrustedXConfig::read(&mut layers)?,
            delivery: DeliveryConfig::read(&mut layers)?,
            push: PushConfig::read(&mut layers)?,
            store: StoreConfig::read(&mut layers)?,
            retention: RetentionConfig::read(&mut layers)?,
            observe: ObserveConfig::read(&mut layers)?,
        };
        layers.assert_all_read();
        anyhow::ensure!(
            config.onespan.components.is_empty()
                || config.server.tls != Tls::InFront
                || config.server.client_address_header.is_some(),
            "`onespan.component` behind a proxy needs `server.client_address_header`; without it, \
             every caller has the proxy's address"
        );
        Ok(config)
    }
}

/// The account that runs this command: its name by the environment, or else its number.
#[must_use]
pub fn account() -> String {
    let named = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|account| !account.is_empty()));
    named.unwrap_or_else(|| {
        let own = std::fs::metadata("/proc/self");
        own.map_or_else(|_| "unknown".to_owned(), |own| format!("uid {}", own.uid()))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> anyhow::Result<Config> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("countersign.toml");
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        Config::from_layers(Some(&path), environment, Overrides::default())
    }

    #[track_caller]
    fn refused(file: &str, environment: &[(&str, &str)]) -> String {
        format!("{:#}", load(file, environment).expect_err("it is refused"))
    }

    /// `take` panics for a key that the default file lacks, `assert_all_read` for a key that no
    /// section reads.
    #[test]
    fn the_default_file_names_every_key_and_no_other() {
        let config = Config::from_layers(None, [], Overrides::default()).unwrap();
        assert_eq!(config.server.listen, "127.0.0.1:8443".parse().unwrap());
        assert_eq!(config.server.default_tenant, None);
        assert!(!config.observe.listen_chosen);
    }

    #[test]
    fn every_key_of_the_default_file_has_a_comment() {
        let mut commented = false;
        for line in layers::DEFAULT.lines() {
            assert!(
                commented || !line.contains('=') || line.starts_with('#'),
                "no comment above: {line}"
            );
            commented = line.starts_with('#');
        }
    }

    #[test]
    fn the_environment_outranks_the_file_and_the_file_the_default() {
        let file = "[locks]\nwrong_max = 3\nfirst_seconds = 60";
        let config = load(file, &[("COUNTERSIGN__LOCKS__WRONG_MAX", "4")]).unwrap();
        assert_eq!(config.locks.wrong_max, 4);
        assert_eq!(config.locks.first, Duration::from_mins(1));
        assert_eq!(config.locks.max, Duration::from_hours(24));
    }

    #[test]
    fn a_flag_outranks_the_environment() {
        let environment = [("COUNTERSIGN__SERVER__LISTEN".into(), "127.0.0.1:1".into())];
        let listen = "127.0.0.1:2".parse().ok();
        let overrides = Overrides { listen, data: Some("elsewhere".into()) };
        let config = Config::from_layers(None, environment, overrides).unwrap();
        assert_eq!(Some(config.server.listen), listen);
        assert_eq!(config.store.data, Path::new("elsewhere"));
        assert_eq!(config.store.master_key_file, Path::new("elsewhere/master.key"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_place() {
        let error = refused("[server]\nlissen = 1", &[]);
        assert!(error.contains("countersign.toml: `server.lissen` is not a key"), "{error}");
        let error = refused("[sever]\nlisten = 1", &[]);
        assert!(error.contains("countersign.toml: `sever.listen` is not a key"), "{error}");
        let error = refused("listen = 1", &[]);
        assert!(error.contains("countersign.toml: `listen` is not a section"), "{error}");
        let error = refused("", &[("COUNTERSIGN__SERVER__LISSEN", "1")]);
        assert!(error.contains("COUNTERSIGN__SERVER__LISSEN: `server.lissen` is not a key"));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_by_name_and_place() {
        let error = refused("[locks]\nwrong_max = \"five\"", &[]);
        assert!(error.contains("countersign.toml: `locks.wrong_max`"), "{error}");
        let error = refused("", &[("COUNTERSIGN__LOCKS__WRONG_MAX", "five")]);
        assert!(error.contains("COUNTERSIGN__LOCKS__WRONG_MAX: `locks.wrong_max`"), "{error}");
        let error = refused("[server]\nlisten = \"localhost\"", &[]);
        assert!(error.contains("countersign.toml: `server.listen`"), "{error}");
    }

    #[test]
    fn a_key_that_does_not_fit_another_ones_default_is_refused_with_the_file_that_sets_it() {
        for (file, start) in [
            ("[channel]\nping_seconds = 600", "`channel.idle_seconds`, which is "),
            ("[locks]\nfirst_seconds = 1000000", "`locks.max_seconds`, which is "),
            ("[server]\ntls = \"in_front\"", "`server.public_addresses`, which is [] by default,"),
            ("[server]\ntls = \"files\"", "`server.certificate_file`, which is \"\" by default,"),
            ("[push]\nconcurrency = 1", "`push.per_sender_concurrency`, which is "),
            ("[push.texts]\nfr = \"Oui ?\"", "`push.language`, which is \"en\" by default,"),
            ("[delivery]\nconcurrency = 1", "`delivery.per_host_concurrency`, which is "),
        ] {
            let error = refused(file, &[]);
            assert!(error.contains(&format!("countersign.toml: {start}")), "{error}");
            assert!(!error.contains("config.default.toml"), "{error}");
        }
        let both = refused("[channel]\nping_seconds = 600\nidle_seconds = 601", &[]);
        assert!(both.contains("countersign.toml: `channel.idle_seconds` is at least"), "{both}");
    }

    #[test]
    fn zero_and_negative_bounds_are_refused() {
        for value in ["0", "-1", "4294967296"] {
            let error = refused(&format!("[channel]\nping_seconds = {value}"), &[]);
            assert!(error.contains("`channel.ping_seconds` is a whole number"), "{error}");
        }
    }

    #[test]
    fn a_suspended_call_waits_for_five_minutes_at_the_most() {
        let wait = |seconds: &str| load(&format!("[onespan]\nwait_seconds = {seconds}"), &[]);
        assert_eq!(load("", &[]).unwrap().onespan.wait, Duration::from_mins(1));
        assert_eq!(wait("0").unwrap().onespan.wait, Duration::ZERO);
        assert_eq!(wait("300").unwrap().onespan.wait, Duration::from_mins(5));
        for value in ["-1", "301", "\"60\"", "1.5"] {
            let error = refused(&format!("[onespan]\nwait_seconds = {value}"), &[]);
            assert!(error.contains("`onespan.wait_seconds` is a whole number"), "{error}");
        }
    }

    #[test]
    fn scopes_are_four_different_names_without_blanks() {
        let named = |file: &str| load(&format!("[trustedx]\n{file}"), &[]);
        assert_eq!(named("scope_sign = \"sign\"").unwrap().trustedx.scopes.sign, "sign");
        for bad in ["\"\"", "\"a b\"", "'a\"b'", "\"é\"", "1"] {
            assert!(named(&format!("scope_sign = {bad}")).is_err(), "{bad}");
        }
        let error = refused("[trustedx]\nscope_sign = \"a\"\nscope_manage = \"a\"", &[]);
        assert!(error.contains("`trustedx.scope_"), "{error}");
    }

    #[test]
    fn hosts_that_may_be_asked_are_named_for_a_tenant() {
        let hosts = |list: &str| load(&format!("[trustedx]\nfetch_hosts = [{list}]"), &[]);
        let hosts = |list: &str| hosts(list).map(|config| config.trustedx.fetch_hosts);
        let host = |host: &str, port| FetchHost {
            tenant: "acme".parse().unwrap(),
            host: host.into(),
            port,
        };
        let read =
            hosts("'acme=Docs.example', 'acme=localhost:8443', 'acme=[::1]:1', 'acme=[::1]'");
        let expected = [
            host("docs.example", 443),
            host("localhost", 8443),
            host("[::1]", 1),
            host("[::1]", 443),
        ];
        assert_eq!(read.unwrap(), expected);
        for bad in ["docs.example", "acme=", "acme=a:0", "acme=a:x", "acme=https://a", "A B=a"] {
            assert!(hosts(&format!("'{bad}'")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_type_is_a_table_of_its_own() {
        let file = r#"
            [[trustedx.device_types]]
            platform = "android"
            id = "phone"
            digest_algorithm = "sha512"
            server_configuration = { theme = "dark", retries = 3 }

            [[trustedx.device_types]]
            id = "other"
        "#;
        let types = load(file, &[]).unwrap().trustedx.device_types;
        assert_eq!(
            (types[0].platform.as_deref(), types[0].id.as_str()),
            (Some("android"), "phone")
        );
        assert_eq!(types[0].server_configuration["retries"], 3);
        assert_eq!((types[1].platform.as_deref(), types[1].digest_algorithm), (None, None));
        for bad in [
            "id = 1",
            "platform = 'a'",
            "id = 'a'\nidd = 'b'",
            "id = 'a'\ndigest_algorithm = 'md5'",
        ] {
            let error = refused(&format!("[[trustedx.device_types]]\n{bad}"), &[]);
            assert!(error.contains("`trustedx.device_types`, entry 1"), "{error}");
        }
        assert!(refused("[trustedx]\ndevice_types = 'phone'", &[]).contains("a list of tables"));
    }

    #[test]
    fn a_component_is_known_by_its_type_and_its_networks() {
        let read = |entry: &str| format!("[[onespan.component]]\n{entry}");
        let good = "type = 'Shop'\nclient = 'shop'\nnetworks = ['10.0.0.0/8', '::1']";
        let components = load(&read(good), &[]).unwrap().onespan.components;
        assert_eq!(
            (&*components[0].component_type, components[0].client.as_str()),
            ("Shop", "shop")
        );
        for (address, may) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.0.0.1", false)] {
            assert_eq!(components[0].calls_from(address.parse().unwrap()), may, "{address}");
        }
        assert!(load("", &[]).unwrap().onespan.components.is_empty());
        for bad in [
            "type = 'Shop'\nclient = 'shop'",
            "type = 'Shop'\nclient = 'shop'\nnetworks = []",
            "type = 'Shop'\nclient = 'shop'\nnetworks = ['0.0.0.0/0']",
            "type = 'Shop'\nclient = 'shop'\nnetworks = ['10.1.2.3/8']",
            "type = ''\nclient = 'shop'\nnetworks = ['10.0.0.0/8']",
            "type = 'Shop'\nclient = 'a b'\nnetworks = ['10.0.0.0/8']",
        ] {
            let error = refused(&read(bad), &[]);
            assert!(error.contains("`onespan.component`, entry 1"), "{error}");
        }
        let proxied = format!(
            "[server]\ntls = \"in_front\"\npublic_addresses = [\"https://a\"]\n{}",
            read(good)
        );
        assert!(refused(&proxied, &[]).contains("`server.client_address_header`"));
    }

    #[test]
    fn lifetimes_of_certificates_are_days_and_end_with_the_authority_at_the_latest() {
        let days = |days: u32| Duration::from_hours(24) * days;
        let read = |file: &str| load(&format!("[certificates]\n{file}"), &[]).unwrap().certificates;
        let default = read("");
        assert_eq!((default.identity, default.authority), (days(3 * 365), days(20 * 365)));
        assert_eq!((default.server, default.warn), (days(397), days(30)));
        assert_eq!(read("identity_days = 1").identity, days(1));
        for bad in ["identity_days = 0", "server_days = 36501", "warn_days = \"30\""] {
            let error = refused(&format!("[certificates]\n{bad}"), &[]);
            assert!(error.contains("`certificates."), "{error}");
        }
        let error = refused("[certificates]\nauthority_days = 1000", &[]);
        assert!(error.contains("`certificates.authority_days` is at least"), "{error}");
    }

    #[test]
    fn short_rsa_keys_cannot_be_allowed() {
        for bad in ["1024", "2047", "8193", "\"2048\""] {
            let error = refused(&format!("[trustedx]\nrsa_bits_min = {bad}"), &[]);
            assert!(error.contains("`trustedx.rsa_bits_min` is a whole number"), "{error}");
        }
    }

    #[test]
    fn what_has_ended_is_kept_for_days_or_for_ever() {
        let kept = |file: &str| load(file, &[]).unwrap().retention.ended_transactions;
        assert_eq!(kept(""), Some(Duration::from_hours(90 * 24)));
        assert_eq!(
            kept("[retention]\nended_transactions_days = 1"),
            Some(Duration::from_hours(24))
        );
        assert_eq!(kept("[retention]\nended_transactions_days = 0"), None);
        for value in ["-1", "\"90\"", "1.5", "4294967296"] {
            let error = refused(&format!("[retention]\nended_transactions_days = {value}"), &[]);
            assert!(error.contains("`retention.ended_transactions_days`"), "{error}");
        }
    }

    #[test]
    fn a_path_in_a_file_is_relative_to_that_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("countersign.toml");
        std::fs::write(&path, "[store]\ndata = \"ledger\"\nmaster_key_file = \"/etc/key\"")
            .unwrap();
        let config = Config::from_layers(Some(&path), [], Overrides::default()).unwrap();
        assert_eq!(config.store.data, directory.path().join("ledger"));
        assert_eq!(config.store.master_key_file, Path::new("/etc/key"));
    }

    #[test]
    fn a_file_that_is_not_toml_is_refused_with_its_line() {
        let error = refused("[server]\nlisten = ", &[]);
        assert!(error.contains("countersign.toml") && error.contains("line 2"), "{error}");
    }
}
