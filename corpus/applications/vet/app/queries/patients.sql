-- name: patient card
-- param: patient bigint
SELECT p.patient_id, p.name, p.species, o.last_name, o.phone
FROM patient p
JOIN pet_owner o ON o.owner_id = p.owner_id AND o.practice_id = p.practice_id
WHERE p.practice_id = :tenant AND p.patient_id = :patient AND o.deleted_at IS NULL;

-- name: owner search
-- param: q text
SELECT o.owner_id, o.last_name, o.phone
FROM pet_owner o
WHERE o.practice_id = :tenant AND o.deleted_at IS NULL
  AND (o.last_name ILIKE '%' || :q || '%' OR o.phone LIKE :q || '%')
ORDER BY o.last_name, o.owner_id;
