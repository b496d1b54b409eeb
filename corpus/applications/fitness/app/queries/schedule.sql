-- name: classSchedule
SELECT c."id", c."title", c."startsAt", i."displayName"
FROM "Class" c
LEFT JOIN "_ClassToInstructor" ci ON ci."A" = c."id"
LEFT JOIN "Instructor" i ON i."id" = ci."B" AND i."studioId" = c."studioId"
WHERE c."studioId" = :tenant
ORDER BY c."startsAt", c."id", i."displayName", i."id";

-- name: classOccupancy
SELECT c."id", c."title", c."capacity", COUNT(b."id") AS "booked"
FROM "Class" c
LEFT JOIN "Booking" b ON b."classId" = c."id" AND b."status" <> 'CANCELLED'
WHERE c."studioId" = :tenant
GROUP BY c."id", c."title", c."capacity"
ORDER BY c."id";

-- name: cancelBooking
UPDATE "Booking" b
SET "status" = 'CANCELLED'
FROM "Class" c
WHERE b."id" = :bookingId
  AND c."id" = b."classId"
  AND c."studioId" = :tenant
RETURNING b."id", b."guestName";
