-- name: pull visits
-- param: since integer
SELECT v.id, v.summary, v.minutes, v.revision, s.address, s.access->>'gate' AS gate
FROM visits v
JOIN sites s ON s.id = v.site_id AND s.company_id = v.company_id
WHERE v.company_id = :tenant AND v.revision > :since
ORDER BY v.id;

-- name: pull gate codes
-- param: path text
SELECT s.id, s.address, s.access #>> string_to_array(:path, '.') AS value
FROM sites s
WHERE s.company_id = :tenant AND s.access #>> string_to_array(:path, '.') IS NOT NULL;

-- name: time sheet
SELECT t.name, sum(v.minutes) AS minutes, count(*) AS visits
FROM visits v JOIN technicians t ON t.id = v.technician_id
JOIN employments e ON e.technician_id = t.id AND e.company_id = v.company_id AND e.active
WHERE v.company_id = :tenant
GROUP BY t.id, t.name ORDER BY t.name, t.id;
