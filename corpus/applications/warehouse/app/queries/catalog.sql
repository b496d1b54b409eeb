-- name: bins of warehouse
select "b"."id", "b"."label"
from "bins" as "b"
inner join "warehouses" as "w" on "w"."id" = "b"."warehouse_id"
where "w"."id" = :warehouse_id and "w"."account_id" = :tenant
order by "b"."label" asc;

-- name: rename product
-- param: name text
update "products" set "name" = :name
where "id" = :product_id and "account_id" = :tenant
returning "id", "sku", "name";
