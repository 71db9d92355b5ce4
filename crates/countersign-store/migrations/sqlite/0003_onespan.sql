-- What OneSpan's surface needs: devices by serial number, and the keys of whole applications.
-- Since this schema transactions may be signed with a code: their proof_signer is an empty BLOB, in the
-- evidence as well, and their evidence is the code's digits. A locked one's end_reason is pin or code;
-- NULL, from before this schema, is pin.

CREATE INDEX devices_by_serial ON devices (tenant, serial_base, sequence) WHERE status <> 'retired';

CREATE TABLE api_keys (
    seq        INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL UNIQUE,
    tenant     TEXT,                    -- NULL is good for all
    kind       TEXT    NOT NULL,        -- front-end, back-end
    digest     BLOB    NOT NULL UNIQUE, -- SHA-256 of the key
    created_at INTEGER NOT NULL
) STRICT;
