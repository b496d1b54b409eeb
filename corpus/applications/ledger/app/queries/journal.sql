-- name: trial balance
-- param: until date
SELECT a.code, a.name, SUM(l.debit) AS debit, SUM(l.credit) AS credit
FROM journal_entries e
JOIN journal_lines l ON l.entry_id = e.id
JOIN accounts a ON a.id = l.account_id AND a.company_id = e.company_id
WHERE e.company_id = :tenant AND e.booked_on <= :until
GROUP BY a.id, a.code, a.name
ORDER BY a.code;

-- name: repeat entry
-- param: booked_on date
WITH copy AS (
    INSERT INTO journal_entries (company_id, booked_on, memo)
    SELECT e.company_id, CAST(:booked_on AS date), e.memo
    FROM journal_entries e
    WHERE e.id = :entry_id AND e.company_id = :tenant
    RETURNING id
)
INSERT INTO journal_lines (entry_id, account_id, debit, credit)
SELECT copy.id, l.account_id, l.debit, l.credit
FROM copy
CROSS JOIN journal_lines l
WHERE l.entry_id = :entry_id;

-- name: delete line
DELETE FROM journal_lines l
USING journal_entries e
WHERE l.id = :line_id
  AND e.id = l.entry_id
  AND e.company_id = :tenant;
