-- name: article page
-- param: article uuid
SELECT a.id, a.title, a.body, c.name AS category,
       (SELECT count(*) FILTER (WHERE v.helpful) FROM article_votes v
         WHERE v.article_id = a.id AND v.brand_id = :tenant) AS helpful
FROM articles a
LEFT JOIN categories c ON c.id = a.category_id AND c.brand_id = :tenant
WHERE a.id = :article AND (a.brand_id = :tenant OR a.brand_id IS NULL)
  AND a.published AND a.deleted_at IS NULL;

-- name: category tree
SELECT c.id, c.name, count(a.id) AS articles
FROM categories c
LEFT JOIN articles a ON a.category_id = c.id AND a.brand_id = c.brand_id AND a.published AND a.deleted_at IS NULL
WHERE c.brand_id = :tenant
GROUP BY c.id, c.name, c.position
ORDER BY c.position, c.name, c.id;

-- name: trash article
-- param: article uuid
UPDATE articles SET deleted_at = timestamptz '2024-06-01 00:00+00'
WHERE id = :article AND brand_id = :tenant AND deleted_at IS NULL
RETURNING id;
