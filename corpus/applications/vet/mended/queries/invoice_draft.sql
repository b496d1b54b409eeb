-- name: invoice draft
-- The open treatments of a practice with what they cost: the practice's own price, or else the statutory fee.
SELECT t.treatment_id, p.name AS patient, t.code,
       coalesce(pi.label, f.description) AS label,
       t.quantity * coalesce(pi.net_price, f.base_fee) AS net
FROM treatment t
JOIN patient p ON p.patient_id = t.patient_id AND p.practice_id = t.practice_id
LEFT JOIN price_item pi ON pi.code = t.code AND pi.practice_id = t.practice_id
LEFT JOIN fee_schedule f ON f.fee_no = t.code
WHERE t.practice_id = :tenant AND NOT t.invoiced
ORDER BY t.treatment_id, net;
