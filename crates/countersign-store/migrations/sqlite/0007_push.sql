-- Pushes: addresses sealed and one device's each, and what came of waking devices.
-- Addresses from before this schema are let go: nothing was ever sent to them, their form was never checked,
-- and they stood here in the clear. A device registers again.

ALTER TABLE devices DROP COLUMN push_provider;
ALTER TABLE devices DROP COLUMN push_token;
ALTER TABLE devices ADD COLUMN push_provider TEXT;   -- apns, fcm, webpush, webhook; NULL is none
ALTER TABLE devices ADD COLUMN push_address  BLOB;   -- sealed JSON; NULL where it was retired
ALTER TABLE devices ADD COLUMN push_mark     BLOB;   -- SHA-256 of the address, so that it is one device's
ALTER TABLE devices ADD COLUMN push_at       INTEGER; -- since when it holds, or when it was retired
ALTER TABLE devices ADD COLUMN push_retired  TEXT;   -- why: dead, moved

CREATE UNIQUE INDEX devices_by_push_mark ON devices (tenant, push_mark) WHERE push_mark IS NOT NULL;

DELETE FROM deliveries WHERE debt = 'push';

-- A row is a device that was pushed for a transaction, or that came to it after it began.
CREATE TABLE contacts (
    tenant         TEXT    NOT NULL,
    transaction_id BLOB    NOT NULL,
    device         INTEGER NOT NULL,
    push           TEXT,    -- sent, needless, waiting, failed, dead; NULL is not pushed
    push_at        INTEGER, -- since when
    push_outcome   TEXT,    -- what came of the last attempt
    reached_at     INTEGER, -- when it first asked what there is
    PRIMARY KEY (tenant, transaction_id, device)
) STRICT, WITHOUT ROWID;
