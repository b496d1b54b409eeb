-- name: article search
-- param: q text
-- One page of hits with the number of all hits and the number per language for the filter at the side.
WITH hits AS (
  SELECT a.id, a.title, a.lang, ts_rank(a.search, websearch_to_tsquery('simple', :q)) AS rank
  FROM articles a
  WHERE (a.brand_id = :tenant OR a.brand_id IS NULL)
    AND a.published AND a.deleted_at IS NULL
    AND a.search @@ websearch_to_tsquery('simple', :q)
), facets AS (
  SELECT f.lang, count(*) AS n
  FROM articles f
  WHERE f.published AND f.deleted_at IS NULL
    AND f.search @@ websearch_to_tsquery('simple', :q)
  GROUP BY f.lang
)
SELECT h.id, h.title, h.lang,
       count(*) OVER () AS total,
       (SELECT n FROM facets WHERE facets.lang = h.lang) AS in_language
FROM hits h
ORDER BY h.rank DESC, h.title, h.id
LIMIT 20;
