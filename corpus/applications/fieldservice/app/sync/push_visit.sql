-- name: push visit
-- param: id uuid
-- param: site uuid
-- param: summary text
-- param: minutes integer
-- One visit from a phone. Sent again (bad network), it must not become two: upsert on the phone's id.
INSERT INTO visits (id, company_id, site_id, technician_id, summary, minutes)
SELECT :id, s.company_id, s.id, :user, :summary, least(greatest(:minutes, 0), 1440)
FROM sites s
WHERE s.id = :site AND s.company_id = :tenant
ON CONFLICT (id) DO UPDATE
  SET company_id = EXCLUDED.company_id, site_id = EXCLUDED.site_id,
      summary = EXCLUDED.summary, minutes = EXCLUDED.minutes, revision = visits.revision + 1
RETURNING visits.id;
