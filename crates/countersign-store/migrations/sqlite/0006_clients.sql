-- OneSpan's SOAP names a client and no tenant.

CREATE INDEX clients_by_id ON clients (id);
