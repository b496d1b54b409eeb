-- name: patient search
-- param: q text
SELECT patients.id, patients.name, patients.species, patients.owner_name
FROM patients
WHERE patients.practice_id = :tenant
  AND (patients.name ILIKE :q OR patients.owner_name ILIKE :q)
ORDER BY patients.name, patients.id;

-- name: patient notes
SELECT notes.id, notes.body, notes.created_at
FROM notes
INNER JOIN patients ON patients.id = notes.notable_id
WHERE patients.practice_id = :tenant
  AND patients.id = :patient_id
ORDER BY notes.created_at DESC, notes.id DESC;

-- name: vaccinations due
-- param: until date
SELECT patients.id, patients.name, vaccinations.vaccine, vaccinations.next_due_on
FROM vaccinations
INNER JOIN patients ON patients.id = vaccinations.patient_id
WHERE patients.practice_id = :tenant
  AND vaccinations.next_due_on <= :until
ORDER BY vaccinations.next_due_on, vaccinations.id;
