-- name: visit notes
SELECT notes.id, notes.body, visits.starts_at
FROM notes
INNER JOIN visits ON visits.id = notes.notable_id AND notes.notable_type = 'Visit'
WHERE visits.practice_id = :tenant
  AND notes.practice_id = :tenant
  AND visits.patient_id = :patient_id
ORDER BY visits.starts_at DESC, notes.id DESC;

-- name: reschedule visit
UPDATE visits
SET starts_at = :starts_at, updated_at = CURRENT_TIMESTAMP
WHERE visits.practice_id = :tenant
  AND visits.id = :visit_id;
