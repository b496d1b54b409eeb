-- name: assignInstructor
INSERT INTO "_ClassToInstructor" ("A", "B")
SELECT c."id", i."id"
FROM "Class" c
JOIN "Instructor" i ON i."studioId" = c."studioId"
WHERE c."id" = :classId
  AND i."id" = :instructorId
  AND c."studioId" = :tenant
ON CONFLICT DO NOTHING;

-- name: removeInstructor
DELETE FROM "_ClassToInstructor" ci
USING "Class" c
WHERE c."id" = :classId
  AND c."studioId" = :tenant
  AND ci."A" = c."id"
  AND ci."B" = :instructorId;
