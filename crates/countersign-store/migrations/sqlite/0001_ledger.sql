-- The ledger. Times are milliseconds since the Unix epoch. Ids of 128 bits are BLOBs of 16 bytes,
-- big-endian (read them with `lower(hex(id))`). The keys of all tables begin with the tenant.
-- "sealed" is AES-256-GCM under the master key, bound to the value's tenant, owner and purpose.

CREATE TABLE tenants (
    name                  TEXT    NOT NULL PRIMARY KEY,
    state                 TEXT    NOT NULL, -- active, locked, deleted
    authority_certificate BLOB    NOT NULL, -- DER
    roots                 TEXT    NOT NULL, -- JSON: ["base64 of DER", …]
    token_public_key      BLOB    NOT NULL, -- SEC 1 point, uncompressed
    token_key_before           BLOB,        -- the public key before it, while its tokens are accepted
    token_key_before_not_after INTEGER,     -- the end of that time
    users_made            INTEGER NOT NULL, -- the next user's serial base is one more
    users                 INTEGER NOT NULL, -- the rows of its users, for the quota
    devices               INTEGER NOT NULL, -- the rows of its devices, retired ones included
    created_at            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_domains (
    domain TEXT NOT NULL PRIMARY KEY, -- a further name of a tenant
    tenant TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tenant_domains_by_tenant ON tenant_domains (tenant, domain);

CREATE TABLE clients (
    tenant        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    version       INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    roles         TEXT    NOT NULL, -- a JSON array of ask, people, enrol
    state         TEXT    NOT NULL, -- active, locked
    secret_number INTEGER NOT NULL, -- 1 for the first secret; access tokens name it
    secret_digest BLOB    NOT NULL, -- SHA-256
    secret_not_after        INTEGER, -- the secret's end; NULL: never
    secret_before_digest    BLOB,    -- SHA-256 of the secret before it, while that one is accepted
    secret_before_not_after INTEGER,
    password_number INTEGER NOT NULL, -- of the newest password, 0 before the first; tokens name it
    account       TEXT,             -- the account that obtains tokens by password; NULL: none may
    account_hash  TEXT,             -- its password's Argon2id hash, a PHC string
    scopes        TEXT,             -- the scopes of its tokens, a JSON array; NULL: all scopes
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

-- The private keys of tenants.
CREATE TABLE signing_keys (
    tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
    role   TEXT NOT NULL, -- authority, tokens
    stored BLOB NOT NULL, -- sealed PKCS#8
    PRIMARY KEY (tenant, role)
) STRICT, WITHOUT ROWID;

-- The keys that sign clients' callbacks.
CREATE TABLE callback_keys (
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    newest BLOB NOT NULL, -- sealed
    before BLOB,          -- sealed: the key before the newest one, while both sign
    PRIMARY KEY (tenant, client),
    FOREIGN KEY (tenant, client) REFERENCES clients (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- For OneSpan's SOAP API, whose requests name a client and no tenant.
CREATE INDEX clients_by_id ON clients (id);

-- API keys, which applications present.
CREATE TABLE api_keys (
    seq        INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    tenant     TEXT,                    -- NULL: valid for all tenants
    kind       TEXT    NOT NULL,        -- front-end, back-end
    digest     BLOB    NOT NULL UNIQUE, -- SHA-256 of the key
    state      TEXT    NOT NULL,        -- active, locked
    not_after  INTEGER,                 -- the key's end; NULL: never
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    tenant         TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    id             BLOB    NOT NULL, -- a UUID
    serial_base    INTEGER NOT NULL,
    devices_made   INTEGER NOT NULL,
    activations_made INTEGER NOT NULL, -- a new activation is written only if it is unchanged
    wrong_pins     INTEGER NOT NULL,
    wrong_codes    INTEGER NOT NULL,
    pin_locks_in_a_row  INTEGER NOT NULL, -- locks by wrong PINs since the last right one
    code_locks_in_a_row INTEGER NOT NULL, -- locks by wrong codes since the last right one
    lock           TEXT    NOT NULL, -- open, until, reported, administrator
    locked_until   INTEGER,          -- if lock is until
    profile        TEXT,             -- the record of the dialect that created the user
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    seq           INTEGER PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    id            INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    user_name TEXT    NOT NULL,
    serial_base   INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    status        TEXT    NOT NULL, -- active, locked, retired
    auth_key      BLOB    NOT NULL, -- SEC 1 point, uncompressed
    payload_key   BLOB    NOT NULL, -- sealed
    code_key      BLOB    NOT NULL, -- sealed
    pin_digest    BLOB,             -- sealed
    pin_version   INTEGER,
    push_provider TEXT,             -- apns, fcm, webpush, webhook; NULL: no address was registered
    push_address  BLOB,             -- sealed JSON; NULL if it was retired
    push_mark     BLOB,             -- SHA-256 of the address, so that it belongs to one device
    push_at       INTEGER,          -- the time of its registration, or of its retirement
    push_retired  TEXT,             -- the reason: dead, moved
    enrolled_at   INTEGER NOT NULL,
    about         TEXT    NOT NULL, -- JSON
    identities    TEXT    NOT NULL, -- JSON, certificates as base64 of DER
    UNIQUE (tenant, id)
) STRICT;

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
    tenant TEXT    NOT NULL,
    id     TEXT    NOT NULL, -- hex, as in devices.identities
    device INTEGER NOT NULL,
    valid_until INTEGER,     -- the end of its certificate; NULL if the identity is disabled
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE identity_labels (
    tenant   TEXT    NOT NULL,
    label    TEXT    NOT NULL,
    user_name TEXT    NOT NULL,
    sequence INTEGER NOT NULL, -- the device's
    identity TEXT    NOT NULL,
    device   INTEGER NOT NULL,
    PRIMARY KEY (tenant, label, user_name, sequence, identity)
) STRICT, WITHOUT ROWID;

-- With the end, so that the index has all that a removal needs.
CREATE INDEX identities_by_device ON identities (tenant, device, valid_until);
CREATE INDEX identities_by_end ON identities (valid_until) WHERE valid_until IS NOT NULL;
CREATE INDEX identity_labels_by_device ON identity_labels (tenant, device);

-- The public keys that identities of a tenant have or had. A row is never removed: a key belongs to
-- one identity for good, even if the identity, its device or its user is removed.
CREATE TABLE identity_keys (
    tenant             TEXT NOT NULL,
    key_digest         BLOB NOT NULL, -- SHA-256 of the SubjectPublicKeyInfo in DER
    identity           TEXT NOT NULL, -- hex, as in devices.identities
    certificate_serial BLOB,          -- its newest certificate's, 16 bytes; NULL if another authority issued that
    PRIMARY KEY (tenant, key_digest)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX identity_keys_by_serial ON identity_keys (tenant, certificate_serial)
    WHERE certificate_serial IS NOT NULL;

CREATE TABLE activations (
    seq       INTEGER PRIMARY KEY,
    tenant    TEXT    NOT NULL,
    id        BLOB    NOT NULL,
    version   INTEGER NOT NULL,
    user_name TEXT    NOT NULL,
    code      BLOB    NOT NULL, -- sealed
    not_after INTEGER NOT NULL,
    maker     TEXT    NOT NULL, -- an actor, as in events
    secret    INTEGER NOT NULL, -- 0 or 1
    chosen    INTEGER NOT NULL, -- 0: generated, 1: chosen by a person
    labels    TEXT    NOT NULL, -- JSON: the labels of the identities that are enrolled with it
    state     TEXT    NOT NULL, -- open, used
    request   BLOB,             -- if used: SHA-256 of the request
    answer    BLOB,             -- if used: the answer to that request
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX activations_by_user ON activations (tenant, user_name, not_after);
CREATE INDEX activations_expired ON activations (not_after);
CREATE INDEX activations_code_sealed ON activations (substr(code, 2, 8));

-- A rowid table, whose rows are in the order of insertion: new rows are appended, and only the
-- index on ids is written at random positions. Only open transactions have a due_at, so that the
-- indexes for open ones stay small.
CREATE TABLE transactions (
    seq         INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    id          BLOB    NOT NULL,
    version     INTEGER NOT NULL,
    -- State:
    state       TEXT    NOT NULL, -- waiting, taken, finished, declined, failed, expired, cancelled, locked
    reached     INTEGER NOT NULL, -- 1 if waiting and an addressed device has been online
    due_at      INTEGER,          -- the deadline; NULL if it has ended
    takes       TEXT    NOT NULL, -- JSON: [{"device":…,"at":…,"origin":"gateway"}, …]; without origin: the device itself
    ended_at    INTEGER,
    ended_by    INTEGER,          -- a device
    end_reason  TEXT,             -- declined: user, not_me, and after a colon the device's words; expired: go_online, sign;
                                  -- failed: the device's words; locked: pin, code
    proof_content BLOB,           -- finished: SHA-256 of the content
    proof_signer  BLOB,           -- finished: SHA-256 of the signer's certificate; empty for a code
    evidence    BLOB,             -- finished: the signature: CMS in DER, raw, or the code's digits
    raw         TEXT,             -- finished with a raw signature: JSON, the further data for verifying it,
                                  -- and the identity as it was
    discarded   INTEGER NOT NULL DEFAULT 0, -- 1 if its caller deleted it
    -- Terms:
    dialect     TEXT    NOT NULL,
    client      TEXT    NOT NULL,
    user_name TEXT    NOT NULL,
    request_key INTEGER NOT NULL,
    reference   TEXT,             -- the client's reference
    device      INTEGER,          -- the addressed one; NULL: any
    started_at  INTEGER NOT NULL,
    body        TEXT    NOT NULL, -- JSON: the terms that no query searches
    stored_bytes INTEGER NOT NULL, -- the bytes that it counts in table stored
    content     BLOB    NOT NULL, -- what is shown and signed
    UNIQUE (tenant, id)
) STRICT;

-- The bytes of each client's transactions, for the quotas of clients and tenants. The program
-- updates it with each row that it inserts into or deletes from transactions. With a trigger,
-- SQLite would copy each page before changing it.
CREATE TABLE stored (
    tenant       TEXT    NOT NULL,
    client       TEXT    NOT NULL,
    transactions INTEGER NOT NULL, -- rows of transactions
    bytes        INTEGER NOT NULL, -- the sum of their stored_bytes
    PRIMARY KEY (tenant, client)
) STRICT, WITHOUT ROWID;

CREATE INDEX transactions_by_tenant ON transactions (tenant);
CREATE INDEX transactions_by_user ON transactions (tenant, user_name);
CREATE INDEX transactions_by_key ON transactions (tenant, request_key);
CREATE UNIQUE INDEX transactions_by_reference ON transactions (tenant, client, reference)
    WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX transactions_open_by_key ON transactions (tenant, request_key)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_open_by_user ON transactions (tenant, user_name)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_due ON transactions (due_at)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_ended ON transactions (ended_at)
    WHERE ended_at IS NOT NULL;

-- The evidence of finished transactions that retention has removed: all columns but the callback,
-- the notice, and the content if the signature contains it. The columns are those of transactions.
CREATE TABLE evidence (
    seq           INTEGER PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    id            BLOB    NOT NULL,
    version       INTEGER NOT NULL,
    takes         TEXT    NOT NULL,
    ended_at      INTEGER NOT NULL,
    ended_by      INTEGER NOT NULL,
    proof_content BLOB    NOT NULL,
    proof_signer  BLOB    NOT NULL,
    evidence      BLOB    NOT NULL,
    dialect       TEXT    NOT NULL,
    client        TEXT    NOT NULL,
    user_name TEXT    NOT NULL,
    request_key   INTEGER NOT NULL,
    reference     TEXT,
    device        INTEGER,
    started_at    INTEGER NOT NULL,
    body          TEXT    NOT NULL,
    raw           TEXT,
    discarded     INTEGER NOT NULL DEFAULT 0,
    content       BLOB,             -- if the signature does not contain it: all formats but CMS
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX evidence_by_tenant ON evidence (tenant);
CREATE INDEX evidence_by_user ON evidence (tenant, user_name);
CREATE INDEX evidence_by_key ON evidence (tenant, request_key);
CREATE UNIQUE INDEX evidence_by_reference ON evidence (tenant, client, reference)
    WHERE reference IS NOT NULL;

-- A row is a used single-use signature: a raw ECDSA signature, which names no transaction. It is
-- written with the end of its transaction and never removed, so that it is refused for every other
-- transaction.
CREATE TABLE used_signatures (
    tenant TEXT NOT NULL,
    mark   BLOB NOT NULL, -- SHA-256 of the signature's r
    PRIMARY KEY (tenant, mark)
) STRICT, WITHOUT ROWID;

-- Deliveries by destination, so that a slow receiver delays only its own, and the results of their
-- attempts.
CREATE TABLE deliveries (
    seq            INTEGER PRIMARY KEY,
    tenant         TEXT    NOT NULL,
    id             BLOB    NOT NULL,
    transaction_id BLOB    NOT NULL,
    kind           TEXT    NOT NULL, -- callback, push
    device         INTEGER,          -- the device of a push
    host           TEXT    NOT NULL DEFAULT '', -- host and port of a callback, or a push service and its application
    endpoint       INTEGER NOT NULL DEFAULT 0,  -- a digest: of client and path of a callback, or of the address of a push
    queued_at        INTEGER NOT NULL DEFAULT 0,  -- when it was queued or replayed
    attempts       INTEGER NOT NULL, -- attempts that were begun
    lease          INTEGER NOT NULL DEFAULT 0,  -- grows by one with each claim
    due_at         INTEGER,          -- the next attempt, or the end of the lease; NULL: given up
    outcome        TEXT,             -- the result of the last settled attempt
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_destination ON deliveries (tenant, host, endpoint, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_dead_letters ON deliveries (tenant) WHERE due_at IS NULL;
CREATE INDEX deliveries_of_transaction ON deliveries (tenant, transaction_id);

-- A row is a device that was pushed for a transaction, or that came online after its start.
CREATE TABLE contacts (
    tenant         TEXT    NOT NULL,
    transaction_id BLOB    NOT NULL,
    device         INTEGER NOT NULL,
    push           TEXT,    -- sent, skipped, waiting, failed, gone; NULL: not pushed
    push_at        INTEGER, -- the time of that state
    push_outcome   TEXT,    -- the result of the last attempt
    reached_at     INTEGER, -- when it first asked for its open transactions
    PRIMARY KEY (tenant, transaction_id, device)
) STRICT, WITHOUT ROWID;

-- Events. A tenant's newest event is never removed, so that no number is given twice.
CREATE TABLE events (
    tenant  TEXT    NOT NULL, -- '': an event of the whole server
    number  INTEGER NOT NULL, -- 1, 2, 3, … in each tenant
    at      INTEGER NOT NULL,
    kind    TEXT    NOT NULL, -- transaction.started, user.locked, …
    actor   TEXT    NOT NULL, -- client:, device:, command-line: or console: and a name; server
    subject TEXT    NOT NULL, -- transaction:, user:, device:, … and a name; tenant
    details TEXT,             -- JSON: pairs of a name and a value; no secrets and no contents
    PRIMARY KEY (tenant, number)
) STRICT, WITHOUT ROWID;

-- What operators did at the command line, for the log of a running server.
CREATE INDEX events_by_operators ON events (at) WHERE substr(actor, 1, 13) = 'command-line:';
