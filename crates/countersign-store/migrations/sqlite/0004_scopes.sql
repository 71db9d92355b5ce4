-- What a client's tokens may be good for: names, as a JSON array. NULL is everything.

ALTER TABLE clients ADD COLUMN scopes TEXT;
