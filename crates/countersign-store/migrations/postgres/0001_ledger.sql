-- The ledger on PostgreSQL: the tables and columns of migrations/sqlite. Times are milliseconds since
-- the Unix epoch. Ids of 128 bits are bytea of 16 bytes, big-endian (read them with
-- `encode(id, 'hex')`). A flag is 0 or 1. The keys of all tables begin with the tenant.
-- "sealed" is AES-256-GCM under the master key, bound to the value's tenant, owner and purpose.

CREATE TABLE tenants (
    name                  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state                 TEXT COLLATE "C" NOT NULL, -- active, locked, deleted
    authority_certificate BYTEA    NOT NULL, -- DER
    roots                 TEXT COLLATE "C" NOT NULL, -- JSON: ["base64 of DER", …]
    token_public_key      BYTEA    NOT NULL, -- SEC 1 point, uncompressed
    token_key_before           BYTEA,        -- the public key before it, while its tokens are accepted
    token_key_before_not_after BIGINT,     -- the end of that time
    users_made            BIGINT  NOT NULL, -- the next user's serial base is one more
    users                 BIGINT  NOT NULL, -- the rows of its users, for the quota
    devices               BIGINT  NOT NULL, -- the rows of its devices, retired ones included
    created_at            BIGINT  NOT NULL
);

CREATE TABLE tenant_domains (
    domain TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- a further name of a tenant
    tenant TEXT COLLATE "C" NOT NULL
);

CREATE INDEX tenant_domains_by_tenant ON tenant_domains (tenant, domain);

CREATE TABLE clients (
    tenant        TEXT COLLATE "C" NOT NULL,
    id            TEXT COLLATE "C" NOT NULL,
    version       BIGINT  NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    roles         TEXT COLLATE "C" NOT NULL, -- a JSON array of ask, people, enrol
    state         TEXT COLLATE "C" NOT NULL, -- active, locked
    secret_number BIGINT  NOT NULL, -- 1 for the first secret; access tokens name it
    secret_digest BYTEA    NOT NULL, -- SHA-256
    secret_not_after        BIGINT, -- the secret's end; NULL: never
    secret_before_digest    BYTEA,    -- SHA-256 of the secret before it, while that one is accepted
    secret_before_not_after BIGINT,
    password_number BIGINT  NOT NULL, -- of the newest password, 0 before the first; tokens name it
    account       TEXT COLLATE "C",             -- the account that obtains tokens by password; NULL: none may
    account_hash  TEXT COLLATE "C",             -- its password's Argon2id hash, a PHC string
    scopes        TEXT COLLATE "C",             -- the scopes of its tokens, a JSON array; NULL: all scopes
    created_at    BIGINT  NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
);

-- The private keys of tenants.
CREATE TABLE signing_keys (
    tenant TEXT COLLATE "C" NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    role   TEXT COLLATE "C" NOT NULL, -- authority, tokens
    stored BYTEA NOT NULL, -- sealed PKCS#8
    PRIMARY KEY (tenant, role)
);

-- The keys that sign clients' callbacks.
CREATE TABLE callback_keys (
    tenant TEXT COLLATE "C" NOT NULL,
    client TEXT COLLATE "C" NOT NULL,
    newest BYTEA NOT NULL, -- sealed
    before BYTEA,          -- sealed: the key before the newest one, while both sign
    PRIMARY KEY (tenant, client),
    FOREIGN KEY (tenant, client) REFERENCES clients (tenant, id) ON DELETE CASCADE
);

-- For OneSpan's SOAP API, whose requests name a client and no tenant.
CREATE INDEX clients_by_id ON clients (id);

-- API keys, which applications present.
CREATE TABLE api_keys (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY,
    id         BYTEA    NOT NULL PRIMARY KEY,
    tenant     TEXT COLLATE "C",                    -- NULL: valid for all tenants
    kind       TEXT COLLATE "C" NOT NULL,        -- front-end, back-end
    digest     BYTEA    NOT NULL UNIQUE, -- SHA-256 of the key
    state      TEXT COLLATE "C" NOT NULL,        -- active, locked
    not_after  BIGINT,                 -- the key's end; NULL: never
    created_at BIGINT  NOT NULL
);

CREATE TABLE users (
    tenant         TEXT COLLATE "C" NOT NULL,
    name           TEXT COLLATE "C" NOT NULL,
    version        BIGINT  NOT NULL,
    id             BYTEA    NOT NULL, -- a UUID
    serial_base    BIGINT  NOT NULL,
    devices_made   BIGINT  NOT NULL,
    activations_made BIGINT  NOT NULL, -- a new activation is written only if it is unchanged
    wrong_pins     BIGINT  NOT NULL,
    wrong_codes    BIGINT  NOT NULL,
    pin_locks_in_a_row  BIGINT  NOT NULL, -- locks by wrong PINs since the last right one
    code_locks_in_a_row BIGINT  NOT NULL, -- locks by wrong codes since the last right one
    lock           TEXT COLLATE "C" NOT NULL, -- open, until, reported, administrator
    locked_until   BIGINT,          -- if lock is until
    profile        TEXT COLLATE "C",             -- the record of the dialect that created the user
    created_at     BIGINT  NOT NULL,
    PRIMARY KEY (tenant, name)
);

CREATE TABLE devices (
    seq           BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant        TEXT COLLATE "C" NOT NULL,
    id            BIGINT  NOT NULL,
    version       BIGINT  NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    serial_base   BIGINT  NOT NULL,
    sequence      BIGINT  NOT NULL,
    status        TEXT COLLATE "C" NOT NULL, -- active, locked, retired
    auth_key      BYTEA    NOT NULL, -- SEC 1 point, uncompressed
    payload_key   BYTEA    NOT NULL, -- sealed
    code_key      BYTEA    NOT NULL, -- sealed
    pin_digest    BYTEA,             -- sealed
    pin_version   BIGINT,
    push_provider TEXT COLLATE "C",             -- apns, fcm, webpush, webhook; NULL: no address was registered
    push_address  BYTEA,             -- sealed JSON; NULL if it was retired
    push_mark     BYTEA,             -- SHA-256 of the address, so that it belongs to one device
    push_at       BIGINT,          -- the time of its registration, or of its retirement
    push_retired  TEXT COLLATE "C",             -- the reason: dead, moved
    enrolled_at   BIGINT  NOT NULL,
    about         TEXT COLLATE "C" NOT NULL, -- JSON
    identities    TEXT COLLATE "C" NOT NULL, -- JSON, certificates as base64 of DER
    PRIMARY KEY (tenant, id)
);

CREATE INDEX devices_listed ON devices (tenant, user_name, sequence) WHERE status <> 'retired';
CREATE INDEX devices_by_serial ON devices (tenant, serial_base, sequence) WHERE status <> 'retired';
CREATE UNIQUE INDEX devices_by_push_mark ON devices (tenant, push_mark) WHERE push_mark IS NOT NULL;

-- The master keys that sealed values name, in their bytes 2 to 9.
CREATE INDEX devices_payload_key_sealed ON devices (substr(payload_key, 2, 8));
CREATE INDEX devices_code_key_sealed ON devices (substr(code_key, 2, 8));
CREATE INDEX devices_pin_digest_sealed ON devices (substr(pin_digest, 2, 8));
CREATE INDEX devices_push_address_sealed ON devices (substr(push_address, 2, 8));

-- Both tables are derived from devices.identities, without retired devices, by the program.
CREATE TABLE identities (
    tenant TEXT COLLATE "C" NOT NULL,
    id     TEXT COLLATE "C" NOT NULL, -- hex, as in devices.identities
    device BIGINT  NOT NULL,
    valid_until BIGINT,     -- the end of its certificate; NULL if the identity is disabled
    PRIMARY KEY (tenant, id)
);

CREATE TABLE identity_labels (
    tenant   TEXT COLLATE "C" NOT NULL,
    label    TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    sequence BIGINT  NOT NULL, -- the device's
    identity TEXT COLLATE "C" NOT NULL,
    device   BIGINT  NOT NULL,
    PRIMARY KEY (tenant, label, user_name, sequence, identity)
);

-- With the end, so that the index has all that a removal needs.
CREATE INDEX identities_by_device ON identities (tenant, device, valid_until);
CREATE INDEX identities_by_end ON identities (valid_until) WHERE valid_until IS NOT NULL;
CREATE INDEX identity_labels_by_device ON identity_labels (tenant, device);

-- The public keys that identities of a tenant have or had. A row is never removed: a key belongs to
-- one identity for good, even if the identity, its device or its user is removed.
CREATE TABLE identity_keys (
    tenant             TEXT COLLATE "C" NOT NULL,
    key_digest         BYTEA NOT NULL, -- SHA-256 of the SubjectPublicKeyInfo in DER
    identity           TEXT COLLATE "C" NOT NULL, -- hex, as in devices.identities
    certificate_serial BYTEA,          -- its newest certificate's, 16 bytes; NULL if another authority issued that
    PRIMARY KEY (tenant, key_digest)
);

CREATE UNIQUE INDEX identity_keys_by_serial ON identity_keys (tenant, certificate_serial)
    WHERE certificate_serial IS NOT NULL;

CREATE TABLE activations (
    seq       BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant    TEXT COLLATE "C" NOT NULL,
    id        BYTEA    NOT NULL,
    version   BIGINT  NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    code      BYTEA    NOT NULL, -- sealed
    not_after BIGINT  NOT NULL,
    maker     TEXT COLLATE "C" NOT NULL, -- an actor, as in events
    secret    BIGINT  NOT NULL, -- 0 or 1
    chosen    BIGINT  NOT NULL, -- 0: generated, 1: chosen by a person
    labels    TEXT COLLATE "C" NOT NULL, -- JSON: the labels of the identities that are enrolled with it
    state     TEXT COLLATE "C" NOT NULL, -- open, used
    request   BYTEA,             -- if used: SHA-256 of the request
    answer    BYTEA,             -- if used: the answer to that request
    PRIMARY KEY (tenant, id)
);

CREATE INDEX activations_by_user ON activations (tenant, user_name, not_after);
CREATE INDEX activations_expired ON activations (not_after);
CREATE INDEX activations_code_sealed ON activations (substr(code, 2, 8));

-- Only open transactions have a due_at, so that the
-- indexes for open ones stay small.
CREATE TABLE transactions (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant      TEXT COLLATE "C" NOT NULL,
    id          BYTEA    NOT NULL,
    version     BIGINT  NOT NULL,
    -- State:
    state       TEXT COLLATE "C" NOT NULL, -- waiting, taken, finished, declined, failed, expired, cancelled, locked
    reached     BIGINT  NOT NULL, -- 1 if waiting and an addressed device has been online
    due_at      BIGINT,          -- the deadline; NULL if it has ended
    takes       TEXT COLLATE "C" NOT NULL, -- JSON: [{"device":…,"at":…,"origin":"gateway"}, …]; without origin: the device itself
    ended_at    BIGINT,
    ended_by    BIGINT,          -- a device
    end_reason  TEXT COLLATE "C",             -- declined: user, not_me, and after a colon the device's words; expired: go_online, sign;
                                  -- failed: the device's words; locked: pin, code
    proof_content BYTEA,           -- finished: SHA-256 of the content
    proof_signer  BYTEA,           -- finished: SHA-256 of the signer's certificate; empty for a code
    evidence    BYTEA,             -- finished: the signature: CMS in DER, raw, or the code's digits
    raw         TEXT COLLATE "C",             -- finished with a raw signature: JSON, the further data for verifying it,
                                  -- and the identity as it was
    discarded   BIGINT  NOT NULL DEFAULT 0, -- 1 if its caller deleted it
    -- Terms:
    dialect     TEXT COLLATE "C" NOT NULL,
    client      TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    request_key BIGINT  NOT NULL,
    reference   TEXT COLLATE "C",             -- the client's reference
    device      BIGINT,          -- the addressed one; NULL: any
    started_at  BIGINT  NOT NULL,
    body        TEXT COLLATE "C" NOT NULL, -- JSON: the terms that no query searches
    stored_bytes BIGINT  NOT NULL, -- the bytes that it counts in table stored
    content     BYTEA    NOT NULL, -- what is shown and signed
    PRIMARY KEY (tenant, id)
);

-- The bytes of each client's transactions, for the quotas of clients and tenants. The program
-- updates it with each row that it inserts into or deletes from transactions.
CREATE TABLE stored (
    tenant       TEXT COLLATE "C" NOT NULL,
    client       TEXT COLLATE "C" NOT NULL,
    transactions BIGINT  NOT NULL, -- rows of transactions
    bytes        BIGINT  NOT NULL, -- the sum of their stored_bytes
    PRIMARY KEY (tenant, client)
) WITH (fillfactor = 10); -- every batch updates it: old versions are removed soon, and few are read

CREATE INDEX transactions_by_tenant ON transactions (tenant, seq);
CREATE INDEX transactions_by_user ON transactions (tenant, user_name, seq);
CREATE INDEX transactions_by_key ON transactions (tenant, request_key, seq);
CREATE UNIQUE INDEX transactions_by_reference ON transactions (tenant, client, reference)
    WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX transactions_open_by_key ON transactions (tenant, request_key)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_open_by_user ON transactions (tenant, user_name, seq)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_due ON transactions (due_at, seq)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_ended ON transactions (ended_at)
    WHERE ended_at IS NOT NULL;

-- The evidence of finished transactions that retention has removed: all columns but the callback,
-- the notice, and the content if the signature contains it. The columns are those of transactions.
CREATE TABLE evidence (
    seq           BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant        TEXT COLLATE "C" NOT NULL,
    id            BYTEA    NOT NULL,
    version       BIGINT  NOT NULL,
    takes         TEXT COLLATE "C" NOT NULL,
    ended_at      BIGINT  NOT NULL,
    ended_by      BIGINT  NOT NULL,
    proof_content BYTEA    NOT NULL,
    proof_signer  BYTEA    NOT NULL,
    evidence      BYTEA    NOT NULL,
    dialect       TEXT COLLATE "C" NOT NULL,
    client        TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    request_key   BIGINT  NOT NULL,
    reference     TEXT COLLATE "C",
    device        BIGINT,
    started_at    BIGINT  NOT NULL,
    body          TEXT COLLATE "C" NOT NULL,
    raw           TEXT COLLATE "C",
    discarded     BIGINT  NOT NULL DEFAULT 0,
    content       BYTEA,             -- if the signature does not contain it: all formats but CMS
    PRIMARY KEY (tenant, id)
);

CREATE INDEX evidence_by_tenant ON evidence (tenant, seq);
CREATE INDEX evidence_by_user ON evidence (tenant, user_name, seq);
CREATE INDEX evidence_by_key ON evidence (tenant, request_key, seq);
CREATE UNIQUE INDEX evidence_by_reference ON evidence (tenant, client, reference)
    WHERE reference IS NOT NULL;

-- A row is a used single-use signature: a raw ECDSA signature, which names no transaction. It is
-- written with the end of its transaction and never removed, so that it is refused for every other
-- transaction.
CREATE TABLE used_signatures (
    tenant TEXT COLLATE "C" NOT NULL,
    mark   BYTEA NOT NULL, -- SHA-256 of the signature's r
    PRIMARY KEY (tenant, mark)
);

-- Deliveries by destination, so that a slow receiver delays only its own, and the results of their
-- attempts.
CREATE TABLE deliveries (
    seq            BIGINT GENERATED ALWAYS AS IDENTITY,
    tenant         TEXT COLLATE "C" NOT NULL,
    id             BYTEA    NOT NULL,
    transaction_id BYTEA    NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL, -- callback, push
    device         BIGINT,          -- the device of a push
    host           TEXT COLLATE "C" NOT NULL DEFAULT '', -- host and port of a callback, or a push service and its application
    endpoint       BIGINT  NOT NULL DEFAULT 0,  -- a digest: of client and path of a callback, or of the address of a push
    queued_at        BIGINT  NOT NULL DEFAULT 0,  -- when it was queued or replayed
    attempts       BIGINT  NOT NULL, -- attempts that were begun
    lease          BIGINT  NOT NULL DEFAULT 0,  -- grows by one with each claim
    due_at         BIGINT,          -- the next attempt, or the end of the lease; NULL: given up
    outcome        TEXT COLLATE "C",             -- the result of the last settled attempt
    PRIMARY KEY (tenant, id)
);

CREATE INDEX deliveries_due ON deliveries (due_at, seq) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_destination ON deliveries (tenant, host, endpoint, due_at, seq)
    WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_dead_letters ON deliveries (tenant, seq) WHERE due_at IS NULL;
CREATE INDEX deliveries_by_tenant ON deliveries (tenant, seq);
CREATE INDEX deliveries_of_transaction ON deliveries (tenant, transaction_id);

-- A row is a device that was pushed for a transaction, or that came online after its start.
CREATE TABLE contacts (
    tenant         TEXT COLLATE "C" NOT NULL,
    transaction_id BYTEA    NOT NULL,
    device         BIGINT  NOT NULL,
    push           TEXT COLLATE "C",    -- sent, skipped, waiting, failed, gone; NULL: not pushed
    push_at        BIGINT, -- the time of that state
    push_outcome   TEXT COLLATE "C",    -- the result of the last attempt
    reached_at     BIGINT, -- when it first asked for its open transactions
    PRIMARY KEY (tenant, transaction_id, device)
);

-- Events. A tenant's newest event is never removed, so that no number is given twice.
CREATE TABLE events (
    tenant  TEXT COLLATE "C" NOT NULL, -- '': an event of the whole server
    number  BIGINT  NOT NULL, -- 1, 2, 3, … in each tenant
    at      BIGINT  NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL, -- transaction.started, user.locked, …
    actor   TEXT COLLATE "C" NOT NULL, -- client:, device:, command-line: or console: and a name; server
    subject TEXT COLLATE "C" NOT NULL, -- transaction:, user:, device:, … and a name; tenant
    details TEXT COLLATE "C",             -- JSON: pairs of a name and a value; no secrets and no contents
    PRIMARY KEY (tenant, number)
);

-- What operators did at the command line, for the log of a running server.
CREATE INDEX events_by_operators ON events (at) WHERE substr(actor, 1, 13) = 'command-line:';

-- The newest number of each tenant's events. Every commit with an event of a tenant updates its row
-- last and holds it until it is durable, so that numbers are in the order of the commits. A commit
-- that depends on a tenant sees here whether the tenant was locked meanwhile.
CREATE TABLE event_numbers (
    tenant TEXT COLLATE "C" NOT NULL PRIMARY KEY, -- '': events of the whole server
    last   BIGINT NOT NULL,
    locked BIGINT NOT NULL
) WITH (fillfactor = 10); -- as for table stored

-- The nodes that share the ledger. A node renews its row every two seconds.
CREATE TABLE nodes (
    number BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    until  BIGINT NOT NULL -- the end of its lease, by the clock of the database
);

-- Where devices are or were connected: a hint, which holds while its node has its lease.
CREATE TABLE presence (
    tenant    TEXT COLLATE "C" NOT NULL,
    user_name TEXT COLLATE "C" NOT NULL,
    device    BIGINT NOT NULL,
    node      BIGINT NOT NULL,
    since     BIGINT NOT NULL, -- when it last connected there
    until     BIGINT NOT NULL, -- 0: it has left; 9223372036854775807: it is connected; otherwise its next poll is due then
    PRIMARY KEY (tenant, user_name, device, node)
);

CREATE INDEX presence_by_node ON presence (node);

-- One row: what this schema is.
CREATE TABLE ledger (
    the_only_one BIGINT NOT NULL PRIMARY KEY CHECK (the_only_one = 1),
    application  TEXT COLLATE "C" NOT NULL, -- countersign
    version      BIGINT NOT NULL,  -- the schema's number; the migrations are numbered from 1
    master_key   BYTEA             -- the id of the master key of the node that came first
);

-- Work that one node does for all, such as ending transactions whose time is over.
CREATE TABLE leases (
    work   TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    holder BYTEA  NOT NULL, -- 16 random bytes of a process
    until  BIGINT NOT NULL  -- by the clock of the database
);

-- Changes of tenants, clients, keys and domains are made one at a time: each locks this row.
CREATE TABLE registry_turn (
    the_only_one BIGINT NOT NULL PRIMARY KEY CHECK (the_only_one = 1)
);

INSERT INTO registry_turn (the_only_one) VALUES (1);
