//! The contract for what operators take back or replace: clients, API keys, token keys, roots and
//! activation codes.

use countersign_core::id::{ApiKeyId, ClientId, TenantName};
use countersign_core::limits::LISTED_MAX;
use countersign_core::port::{
    Change, ClientDeletion, Committed, Keys as _, Ledger as _, Page, Signer as _, SigningRole,
    TokenKeyChange, TokenKeys,
};
use countersign_core::role::{Role, Roles};
use countersign_core::tenant::{
    Account, ApiKey, Client, ClientSecret, CredentialState, KeyKind, PasswordGrant,
};
use countersign_core::time::Timestamp;
use countersign_store::Store;

use crate::on_every_store;
use crate::world::Changes as _;
use crate::world::{
    activation, client, commit, create_activation, create_client, populate, spec, waiting,
};

fn acme() -> TenantName {
    "acme".parse().unwrap()
}

fn id(name: &str) -> ClientId {
    name.parse().unwrap()
}

async fn change(store: &Store, change: Change) -> Committed {
    store.change(&acme(), change).await.unwrap()
}

fn account(number: u32, name: &str) -> PasswordGrant {
    let account = Account { name: name.parse().unwrap(), hash: "$argon2id$…".into() };
    PasswordGrant { number, account: Some(account) }
}

#[tokio::test]
async fn what_an_operator_may_change_of_a_client_changes_at_the_version_that_was_read() {
    on_every_store(async |store| {
        populate(&store).await;
        let made = client("acme", "shop", "Shop");
        create_client(&store, made.clone()).await.0.unwrap();
        let read = async || store.read().client(&acme(), &id("shop")).await.unwrap().unwrap();
        assert_eq!((read().await.version, read().await.value.roles), (1, Roles::default()));
        let secret = ClientSecret { digest: [4; 32], not_after: Some(Timestamp(50)) };
        let changed = Client {
            name: "not among what may change".into(),
            roles: [Role::People, Role::Enrol].into_iter().collect(),
            state: CredentialState::Locked,
            password: account(3, "robot"),
            ..made.clone().with_secret(secret, Some(Timestamp(40)))
        };
        let with = |client: &Client, expected| Change::ChangeClient {
            client: Box::new(client.clone()),
            expected,
        };
        assert_eq!(change(&store, with(&changed, 2)).await, Committed::Stale);
        assert_eq!(change(&store, with(&changed, 1)).await, Committed::Written);
        assert_eq!(change(&store, with(&changed, 1)).await, Committed::Stale);
        let found = read().await;
        let Client {
            name, roles, state, secret_number, secret: own, secret_before, password, ..
        } = found.value;
        assert_eq!(password, account(3, "robot"));
        assert_eq!((found.version, name.as_str(), secret_number), (2, "Shop", 2));
        assert_eq!((roles, state, own), (changed.roles, CredentialState::Locked, secret));
        let kept = ClientSecret { digest: [3; 32], not_after: Some(Timestamp(40)) };
        assert_eq!(secret_before, Some(kept));
        let password = PasswordGrant { number: 3, account: None };
        let none = Client {
            secret_before: None,
            roles: Roles::NONE,
            password: password.clone(),
            ..changed
        };
        assert_eq!(change(&store, with(&none, 2)).await, Committed::Written);
        let found = read().await.value;
        assert_eq!((found.secret_before, found.roles), (None, Roles::NONE));
        assert_eq!(found.password, password);
        let unknown = client("acme", "nobody", "Nobody");
        assert_eq!(change(&store, with(&unknown, 1)).await, Committed::Stale);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_client_is_found_nowhere_and_leaves_its_name() {
    on_every_store(async |store| {
        populate(&store).await;
        create_client(&store, client("acme", "shop", "Shop")).await.0.unwrap();
        create_client(&store, client("beta", "shop", "Shop")).await.0.unwrap();
        let delete_if = |only_of_locked| {
            let (tenant, client) = (acme(), id("shop"));
            Change::DeleteClient(ClientDeletion { tenant, client, only_of_locked })
        };
        let delete = || delete_if(false);
        assert_eq!(change(&store, delete_if(true)).await, Committed::Stale, "it is not locked");
        let found = store.read().token_holder(&acme(), &id("shop")).await.unwrap().unwrap();
        let tenant = store.read().tenant(&acme()).await.unwrap().unwrap();
        assert_eq!((found.0.name.as_str(), found.1), ("Shop", tenant.token_keys));
        assert_eq!(change(&store, delete()).await, Committed::Written);
        assert_eq!(change(&store, delete()).await, Committed::Stale);
        assert!(store.read().client(&acme(), &id("shop")).await.unwrap().is_none());
        assert!(store.read().token_holder(&acme(), &id("shop")).await.unwrap().is_none());
        let macs = store.private_keys().callback_macs(&acme(), &id("shop"), b"").await.unwrap();
        assert_eq!(macs, None, "its callback keys are gone");
        let others = store.read().client_by_id(&id("shop")).await.unwrap().unwrap();
        assert_eq!(others.tenant.as_str(), "beta");
        let again = create_client(&store, client("acme", "shop-2", "Shop")).await.0.unwrap();
        assert_eq!(again, Committed::Written);
    })
    .await;
}

#[tokio::test]
async fn clients_and_users_are_listed_by_name_page_by_page() {
    on_every_store(async |store| {
        populate(&store).await;
        for name in ["c", "a", "b"] {
            create_client(&store, client("acme", name, name)).await.0.unwrap();
        }
        let page = |after| Page { after, limit: 2 };
        let first = store.clients(&acme(), page(None)).await.unwrap();
        let ids: Vec<_> = first.rows.iter().map(|client| client.id.as_str()).collect();
        assert_eq!((ids, first.next.clone()), (vec!["a", "b"], Some(id("b"))));
        let rest = store.clients(&acme(), page(first.next)).await.unwrap();
        assert_eq!((rest.rows.len(), rest.rows[0].id.as_str(), rest.next), (1, "c", None));
        let first = store.users(&acme(), Page::first(1)).await.unwrap();
        assert_eq!((first.rows[0].value.name.as_str(), first.rows[0].version), ("jane", 2));
        let rest = store.users(&acme(), Page { after: first.next, limit: 2 }).await.unwrap();
        assert_eq!((rest.rows.len(), rest.rows[0].value.name.as_str()), (1, "joe"));
    })
    .await;
}

#[tokio::test]
async fn of_a_client_the_open_transactions_are_found_oldest_first() {
    on_every_store(async |store| {
        populate(&store).await;
        for number in [2, 1] {
            store.step(commit(waiting(spec(number)), None)).await.unwrap();
        }
        let mut ended = waiting(spec(1));
        ended.state = countersign_core::transaction::State::Ended {
            at: Timestamp(130),
            end: countersign_core::transaction::End::Cancelled,
        };
        let found = async |client: &str| {
            let found = store.read().open_of_client(&acme(), &id(client)).await.unwrap();
            assert!(found.len() <= LISTED_MAX.into());
            found.into_iter().map(|one| one.value.spec.id.0).collect::<Vec<_>>()
        };
        assert_eq!((found("bank").await, found("shop").await), (vec![2, 1], vec![]));
        let mut end = commit(ended, Some(1));
        end.event = countersign_core::transaction::Event::Ended(
            countersign_core::outcome::Outcome::Cancelled,
        );
        assert_eq!(store.step(end).await.unwrap(), Committed::Written);
        assert_eq!(found("bank").await, [2]);
    })
    .await;
}

#[tokio::test]
async fn an_api_key_is_locked_unlocked_and_deleted() {
    on_every_store(async |store| {
        populate(&store).await;
        let key = ApiKey {
            id: ApiKeyId(7),
            tenant: None,
            kind: KeyKind::FrontEnd,
            digest: [7; 32],
            state: CredentialState::Active,
            not_after: Some(Timestamp(9)),
            tenant_locked: false,
            created_at: Timestamp(1),
        };
        store.create_key(key.clone()).await.unwrap();
        let set = |state| Change::SetApiKeyState { id: key.id, state };
        let (active, locked) = (CredentialState::Active, CredentialState::Locked);
        assert_eq!(change(&store, set(active)).await, Committed::Stale);
        assert_eq!(change(&store, set(locked)).await, Committed::Written);
        let found = store.read().api_key(&[7; 32]).await.unwrap();
        assert_eq!(found, Some(ApiKey { state: locked, ..key.clone() }));
        assert_eq!(store.read().api_key_by_id(key.id).await.unwrap(), found);
        assert_eq!(change(&store, set(active)).await, Committed::Written);
        let delete = || Change::DeleteApiKey { id: key.id };
        assert_eq!(change(&store, delete()).await, Committed::Written);
        assert_eq!(change(&store, delete()).await, Committed::Stale);
        assert_eq!(store.read().api_key(&[7; 32]).await.unwrap(), None);
        assert_eq!(store.read().api_key_by_id(key.id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_tenants_token_key_is_replaced_with_its_private_half() {
    on_every_store(async |store| {
        populate(&store).await;
        let keys = store.private_keys();
        let present = store.read().tenant(&acme()).await.unwrap().unwrap().token_keys;
        let (signer, key) = keys.generate(&acme(), SigningRole::Tokens).await.unwrap();
        let next = present.replaced_by(*signer.public_key(), Some(Timestamp(77)));
        let replace = |expected| {
            let (tenant, key) = (acme(), key.clone());
            Change::ReplaceTokenKey(Box::new(TokenKeyChange { tenant, expected, keys: next, key }))
        };
        let other = TokenKeys::one([9; 65]);
        assert_eq!(change(&store, replace(other)).await, Committed::Stale);
        assert_eq!(change(&store, replace(present)).await, Committed::Written);
        assert_eq!(change(&store, replace(present)).await, Committed::Stale);
        let found = store.read().tenant(&acme()).await.unwrap().unwrap().token_keys;
        assert_eq!(found, next);
        assert_eq!(found.before, Some((present.newest, Timestamp(77))));
        let signer = keys.prepare(&acme(), SigningRole::Tokens).await.unwrap();
        assert_eq!(*signer.public_key(), next.newest);
    })
    .await;
}

#[tokio::test]
async fn a_root_is_taken_back_once() {
    on_every_store(async |store| {
        populate(&store).await;
        let before = store.read().tenant(&acme()).await.unwrap().unwrap().roots;
        store.trust(&acme(), b"a root").await.unwrap();
        let distrust = || Change::DistrustRoot { tenant: acme(), root: b"a root".to_vec() };
        assert_eq!(change(&store, distrust()).await, Committed::Written);
        assert_eq!(change(&store, distrust()).await, Committed::Stale);
        assert_eq!(store.read().tenant(&acme()).await.unwrap().unwrap().roots, before);
    })
    .await;
}

#[tokio::test]
async fn an_activation_is_deleted_once_in_its_tenant() {
    on_every_store(async |store| {
        populate(&store).await;
        create_activation(&store, activation("acme", "joe", 5)).await;
        let delete =
            |tenant: &str| Change::DeleteActivation { tenant: tenant.parse().unwrap(), id: 5 };
        assert_eq!(change(&store, delete("beta")).await, Committed::Stale);
        assert_eq!(change(&store, delete("acme")).await, Committed::Written);
        assert_eq!(change(&store, delete("acme")).await, Committed::Stale);
        let joe = "joe".parse().unwrap();
        assert_eq!(store.read().activations(&acme(), &joe, Timestamp(0)).await.unwrap(), []);
    })
    .await;
}
