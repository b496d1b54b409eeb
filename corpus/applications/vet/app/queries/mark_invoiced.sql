-- name: mark invoiced
-- param: patient bigint
UPDATE treatment SET invoiced = true
WHERE practice_id = :tenant AND patient_id = :patient AND NOT invoiced
RETURNING treatment_id;
