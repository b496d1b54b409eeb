-- name: account subtree
-- An account and all accounts below it, with their balances.
WITH RECURSIVE subtree AS (
    SELECT a.id, a.code, a.name
    FROM accounts a
    WHERE a.company_id = :tenant AND a.code = :code
  UNION
    SELECT child.id, child.code, child.name
    FROM accounts child
    JOIN subtree ON child.parent_code = subtree.code
)
SELECT s.code, s.name, COALESCE(SUM(l.debit - l.credit), 0) AS balance
FROM subtree s
LEFT JOIN journal_lines l ON l.account_id = s.id
GROUP BY s.id, s.code, s.name
ORDER BY s.code, s.id;

-- name: account path
-- An account and all accounts above it.
WITH RECURSIVE path AS (
    SELECT a.company_id, a.code, a.parent_code, a.name
    FROM accounts a
    WHERE a.company_id = :tenant AND a.id = :account_id
  UNION
    SELECT parent.company_id, parent.code, parent.parent_code, parent.name
    FROM accounts parent
    JOIN path ON parent.code = path.parent_code AND parent.company_id = path.company_id
)
SELECT code, name FROM path ORDER BY code;
