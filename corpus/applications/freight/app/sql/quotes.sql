-- name: openQuotes
SELECT q."id", q."customer", q."state",
       round(r."basePrice" * (1 + r."fuelSurcharge" / 100) * (1 + q."marginPct" / 100), 2) AS "total"
FROM "Quote" q
JOIN "Rate" r ON r."id" = q."rateId" AND r."orgId" = q."orgId"
WHERE q."orgId" = :tenant AND q."state" IN ('DRAFT', 'SENT');

-- name: createQuote
-- param: rate uuid
-- param: customer text
INSERT INTO "Quote" ("orgId", "rateId", "customer")
SELECT r."orgId", r."id", :customer FROM "Rate" r WHERE r."id" = :rate AND r."orgId" = :tenant
RETURNING "id";

-- name: laneSummary
SELECT l."code", l."fromPort", l."toPort", count(r."id") AS "rates", min(r."basePrice") AS "best"
FROM "Lane" l
LEFT JOIN "Rate" r ON r."laneCode" = l."code" AND r."orgId" = :tenant
GROUP BY l."code", l."fromPort", l."toPort"
ORDER BY l."code";
