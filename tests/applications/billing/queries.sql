-- name: invoice list
SELECT i.number, i.issued_on, c.name
FROM invoices i JOIN customers c ON c.id = i.customer_id
WHERE i.tenant_id = :tenant AND c.name ILIKE :q
ORDER BY i.number
