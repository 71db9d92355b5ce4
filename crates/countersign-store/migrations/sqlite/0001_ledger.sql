-- The ledger. Moments are milliseconds since the Unix epoch; ids of 128 bits are BLOBs of 16 bytes,
-- big-endian (read them with `lower(hex(id))`); keys of all tables begin with the tenant.
-- "sealed" is AES-256-GCM under the master key, bound to its tenant, owner and purpose.

CREATE TABLE tenants (
    name                  TEXT    NOT NULL PRIMARY KEY,
    authority_certificate BLOB    NOT NULL, -- DER
    authority_key         BLOB    NOT NULL, -- sealed PKCS#8
    roots                 TEXT    NOT NULL, -- JSON: ["base64 of DER", …]
    token_key             BLOB    NOT NULL, -- sealed PKCS#8
    users_made            INTEGER NOT NULL, -- the next user's serial base is one more
    created_at            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    tenant        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    secret_digest BLOB    NOT NULL, -- SHA-256
    webhook_key   BLOB    NOT NULL, -- sealed
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (tenant, id),
    UNIQUE (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    tenant         TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    serial_base    INTEGER NOT NULL,
    devices_made   INTEGER NOT NULL,
    wrong_pins     INTEGER NOT NULL,
    wrong_codes    INTEGER NOT NULL,
    locks_in_a_row INTEGER NOT NULL,
    lock           TEXT    NOT NULL, -- open, until, disowned, administrator
    locked_until   INTEGER,          -- where lock is until
    profile        TEXT,             -- what the surface that made the user keeps of them, as it wrote it
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    seq           INTEGER PRIMARY KEY,
    tenant        TEXT    NOT NULL,
    id            INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    user          TEXT    NOT NULL,
    serial_base   INTEGER NOT NULL,
    sequence      INTEGER NOT NULL,
    status        TEXT    NOT NULL, -- active, locked, retired
    auth_key      BLOB    NOT NULL, -- SEC 1 point, uncompressed
    payload_key   BLOB    NOT NULL, -- sealed
    code_key      BLOB    NOT NULL, -- sealed
    pin_digest    BLOB,             -- sealed
    pin_version   INTEGER,
    push_provider TEXT,
    push_token    TEXT,
    enrolled_at   INTEGER NOT NULL,
    about         TEXT    NOT NULL, -- JSON
    identities    TEXT    NOT NULL, -- JSON, certificates as base64 of DER
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX devices_listed ON devices (tenant, user, sequence) WHERE status <> 'retired';

CREATE TABLE activations (
    seq       INTEGER PRIMARY KEY,
    tenant    TEXT    NOT NULL,
    id        BLOB    NOT NULL,
    version   INTEGER NOT NULL,
    user      TEXT    NOT NULL,
    code      BLOB    NOT NULL, -- sealed
    not_after INTEGER NOT NULL,
    secret    INTEGER NOT NULL, -- 0 or 1
    state     TEXT    NOT NULL, -- open, used
    request   BLOB,             -- where used: SHA-256 of the request
    answer    BLOB,             -- where used
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX activations_by_user ON activations (tenant, user, not_after);
CREATE INDEX activations_expired ON activations (not_after);

-- A rowid table whose rows stand in the order in which they were written: new ones go to its end,
-- and only the index on ids is written at random. An open transaction, and no other, has a due_at,
-- so that the indexes that serve open ones stay as small as what is open.
CREATE TABLE transactions (
    seq         INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    id          BLOB    NOT NULL,
    version     INTEGER NOT NULL,
    -- its life
    state       TEXT    NOT NULL, -- waiting, taken, finished, declined, failed, expired, cancelled, locked
    reached     INTEGER NOT NULL, -- 1 where waiting and an addressed device has been online
    due_at      INTEGER,          -- when it expires; NULL once it has ended
    takes       TEXT    NOT NULL, -- JSON: [{"device":…,"at":…}, …]
    ended_at    INTEGER,
    ended_by    INTEGER,          -- a device
    end_reason  TEXT,             -- declined: user, not_me; expired: go_online, sign; failed: the device's words
    proof_content BLOB,           -- finished: SHA-256 of the content
    proof_signer  BLOB,           -- finished: SHA-256 of the signer's certificate
    evidence    BLOB,             -- finished: the signature, CMS in DER
    -- its terms
    surface     TEXT    NOT NULL,
    client      TEXT    NOT NULL,
    user        TEXT    NOT NULL,
    request_key INTEGER NOT NULL,
    reference   TEXT,             -- the caller's own name for it
    device      INTEGER,          -- the addressed one; NULL is any
    started_at  INTEGER NOT NULL,
    body        TEXT    NOT NULL, -- JSON: the terms that nothing is found by
    content     BLOB    NOT NULL, -- what is shown and signed
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX transactions_by_tenant ON transactions (tenant);
CREATE INDEX transactions_by_user ON transactions (tenant, user);
CREATE INDEX transactions_by_key ON transactions (tenant, request_key);
CREATE UNIQUE INDEX transactions_by_reference ON transactions (tenant, client, reference)
    WHERE reference IS NOT NULL;
CREATE UNIQUE INDEX transactions_open_by_key ON transactions (tenant, request_key)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_open_by_user ON transactions (tenant, user)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_due ON transactions (due_at)
    WHERE due_at IS NOT NULL;
CREATE INDEX transactions_ended ON transactions (ended_at)
    WHERE ended_at IS NOT NULL;

-- What stays of finished transactions when retention has removed them: all but the content, which the
-- signature holds, the callback and the notice. Columns mean what they mean above.
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
    surface       TEXT    NOT NULL,
    client        TEXT    NOT NULL,
    user          TEXT    NOT NULL,
    request_key   INTEGER NOT NULL,
    reference     TEXT,
    device        INTEGER,
    started_at    INTEGER NOT NULL,
    body          TEXT    NOT NULL,
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX evidence_by_tenant ON evidence (tenant);
CREATE INDEX evidence_by_user ON evidence (tenant, user);
CREATE INDEX evidence_by_key ON evidence (tenant, request_key);
CREATE UNIQUE INDEX evidence_by_reference ON evidence (tenant, client, reference)
    WHERE reference IS NOT NULL;

CREATE TABLE deliveries (
    seq            INTEGER PRIMARY KEY,
    tenant         TEXT    NOT NULL,
    id             BLOB    NOT NULL,
    transaction_id BLOB    NOT NULL,
    debt           TEXT    NOT NULL, -- callback, push
    device         INTEGER,          -- where it is a push
    attempts       INTEGER NOT NULL, -- begun
    due_at         INTEGER,          -- when it is tried, or its lease ends; NULL is given up
    UNIQUE (tenant, id)
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_by_transaction ON deliveries (tenant, transaction_id);
