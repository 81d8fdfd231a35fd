-- Messages that came in before their repetitions were known by what is spent: known for 90 days from when they came.
INSERT OR IGNORE INTO spent (id, until_ms)
SELECT 'hook ' || tool || ' ' || item, at_ms + 7776000000
FROM (
    SELECT tool, at_ms, CASE WHEN json_valid(body) THEN json_extract(body, '$.key') END AS item
    FROM events WHERE kind = 'webhook.received'
)
WHERE item IS NOT NULL;
