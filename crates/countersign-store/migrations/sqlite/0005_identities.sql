-- What TrustedX's surface needs: identities found by id and by label, raw signatures, and transactions
-- that their caller deleted.
-- Since this schema a declined transaction's end_reason may go on after a colon with the device's words,
-- a failed one's may be empty, and a body may have devices, selectors, document and surface_request.

ALTER TABLE transactions ADD COLUMN raw TEXT;                              -- finished with a raw signature: JSON, what else it takes to verify it
ALTER TABLE transactions ADD COLUMN discarded INTEGER NOT NULL DEFAULT 0;  -- 1 where its caller deleted it
ALTER TABLE evidence ADD COLUMN raw TEXT;
ALTER TABLE evidence ADD COLUMN discarded INTEGER NOT NULL DEFAULT 0;
ALTER TABLE evidence ADD COLUMN content BLOB;                              -- where the signature does not hold it: all but CMS

-- Both follow from devices.identities, those of retired devices aside, and are kept by the triggers below.
CREATE TABLE identities (
    tenant TEXT    NOT NULL,
    id     TEXT    NOT NULL, -- hex, as in devices.identities
    device INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE identity_labels (
    tenant   TEXT    NOT NULL,
    label    TEXT    NOT NULL,
    user     TEXT    NOT NULL,
    sequence INTEGER NOT NULL, -- the device's
    identity TEXT    NOT NULL,
    device   INTEGER NOT NULL,
    PRIMARY KEY (tenant, label, user, sequence, identity)
) STRICT, WITHOUT ROWID;

CREATE INDEX identities_by_device ON identities (tenant, device);
CREATE INDEX identity_labels_by_device ON identity_labels (tenant, device);

INSERT INTO identities
    SELECT tenant, json_extract(identity.value, '$.id'), devices.id
      FROM devices, json_each(devices.identities) AS identity WHERE status <> 'retired';
INSERT OR IGNORE INTO identity_labels
    SELECT tenant, label.value, user, sequence, json_extract(identity.value, '$.id'), devices.id
      FROM devices, json_each(devices.identities) AS identity,
           json_each(json_extract(identity.value, '$.labels')) AS label WHERE status <> 'retired';

CREATE TRIGGER device_enrolled AFTER INSERT ON devices WHEN new.status <> 'retired'
BEGIN
    INSERT INTO identities
        SELECT new.tenant, json_extract(value, '$.id'), new.id FROM json_each(new.identities);
    INSERT OR IGNORE INTO identity_labels
        SELECT new.tenant, label.value, new.user, new.sequence,
               json_extract(identity.value, '$.id'), new.id
          FROM json_each(new.identities) AS identity,
               json_each(json_extract(identity.value, '$.labels')) AS label;
END;

CREATE TRIGGER device_changed AFTER UPDATE OF status, identities ON devices
    WHEN old.identities <> new.identities OR old.status <> new.status
BEGIN
    DELETE FROM identities WHERE tenant = old.tenant AND device = old.id;
    DELETE FROM identity_labels WHERE tenant = old.tenant AND device = old.id;
    INSERT INTO identities
        SELECT new.tenant, json_extract(value, '$.id'), new.id
          FROM json_each(new.identities) WHERE new.status <> 'retired';
    INSERT OR IGNORE INTO identity_labels
        SELECT new.tenant, label.value, new.user, new.sequence,
               json_extract(identity.value, '$.id'), new.id
          FROM json_each(new.identities) AS identity,
               json_each(json_extract(identity.value, '$.labels')) AS label
         WHERE new.status <> 'retired';
END;
