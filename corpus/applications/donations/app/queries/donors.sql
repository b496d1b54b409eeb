-- name: lapsed donors
-- param: since date
SELECT d."id", d."full_name", d."email"
FROM "donors_donor" d
WHERE d."organization_id" = :tenant
  AND NOT EXISTS (
    SELECT 1 FROM "donations_gift" g
    WHERE g."donor_id" = d."id"
      AND g."organization_id" = d."organization_id"
      AND g."received_on" >= :since
  )
ORDER BY d."full_name" ASC, d."id" ASC;

-- name: assign gift to campaign
UPDATE "donations_gift" g
SET "campaign_id" = c."id"
FROM "donations_campaign" c
WHERE g."id" = :gift_id
  AND g."organization_id" = :tenant
  AND c."id" = :campaign_id
  AND c."organization_id" = g."organization_id";
