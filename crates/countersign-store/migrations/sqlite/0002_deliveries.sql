-- Deliveries by receiver, so that a slow one delays nobody else, and what became of them.

ALTER TABLE deliveries ADD COLUMN host TEXT NOT NULL DEFAULT '';     -- host and port of a callback; '' is a push, or from before this schema
ALTER TABLE deliveries ADD COLUMN owed_at INTEGER NOT NULL DEFAULT 0; -- since when, or when it was replayed
ALTER TABLE deliveries ADD COLUMN lease INTEGER NOT NULL DEFAULT 0;  -- grows by one with each claim
ALTER TABLE deliveries ADD COLUMN outcome TEXT;                      -- what came of the last attempt that was settled

UPDATE deliveries SET owed_at = coalesce(due_at, 0);

CREATE INDEX deliveries_by_lane ON deliveries (tenant, host, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_given_up ON deliveries (tenant) WHERE due_at IS NULL;
CREATE INDEX deliveries_of_transaction ON deliveries (tenant, transaction_id);

-- The key that signed callbacks before the newest one did: both sign until the client has changed over.
ALTER TABLE clients ADD COLUMN webhook_key_before BLOB; -- sealed
