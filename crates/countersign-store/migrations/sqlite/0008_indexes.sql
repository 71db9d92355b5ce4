-- Step 2 made the same index under another name.

DROP INDEX deliveries_by_transaction;
