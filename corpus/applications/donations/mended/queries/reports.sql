-- name: campaign totals
SELECT c."id", c."name", c."goal", COALESCE(SUM(g."amount"), 0) AS "raised"
FROM "donations_campaign" c
LEFT OUTER JOIN "donations_gift" g
  ON (g."campaign_id" = c."id" AND g."organization_id" = c."organization_id")
WHERE c."organization_id" = :tenant
GROUP BY c."id", c."name", c."goal"
ORDER BY c."id" ASC;

-- name: donor ranking
-- param: since date
WITH totals AS (
  SELECT g."organization_id",
         g."donor_id",
         SUM(g."amount") AS total,
         RANK() OVER (PARTITION BY g."organization_id" ORDER BY SUM(g."amount") DESC) AS place
  FROM "donations_gift" g
  WHERE g."received_on" >= :since
  GROUP BY g."organization_id", g."donor_id"
)
SELECT t.place, d."full_name", t.total
FROM totals t
INNER JOIN "donors_donor" d
  ON (d."id" = t."donor_id" AND d."organization_id" = t."organization_id")
WHERE t."organization_id" = :tenant
ORDER BY t.place ASC, d."id" ASC;

-- name: giving history
SELECT g."id", g."received_on", g."amount",
       SUM(g."amount") OVER (PARTITION BY g."donor_id" ORDER BY g."received_on", g."id") AS running_total
FROM "donations_gift" g
WHERE g."organization_id" = :tenant
ORDER BY g."donor_id" ASC, g."received_on" ASC, g."id" ASC;
