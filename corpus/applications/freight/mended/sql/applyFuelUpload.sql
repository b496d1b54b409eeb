-- name: applyFuelUpload
-- param: upload uuid
-- Brings an uploaded fuel surcharge to the rates of its lane.
UPDATE "Rate" AS r
SET "fuelSurcharge" = f."percent"
FROM "FuelUpload" AS f
WHERE f."id" = :upload
  AND f."orgId" = :tenant
  AND r."laneCode" = f."laneCode"
  AND r."orgId" = f."orgId";
