-- name: stock by product
select "p"."sku", "p"."name", coalesce(sum("bc"."quantity"), 0) as "on_hand"
from "products" as "p"
left join "bin_counts" as "bc" on "bc"."product_id" = "p"."id" and "bc"."account_id" = "p"."account_id"
where "p"."account_id" = :tenant
group by "p"."id", "p"."sku", "p"."name"
order by "p"."sku" asc;

-- name: record count
-- param: quantity integer
-- param: bin_id bins.id
-- param: product_id products.id
insert into "bin_counts" ("account_id", "bin_id", "product_id", "quantity")
select "w"."account_id", "b"."id", "p"."id", cast(:quantity as integer)
from "bins" as "b"
inner join "warehouses" as "w" on "w"."id" = "b"."warehouse_id"
inner join "products" as "p" on "p"."account_id" = "w"."account_id"
where "b"."id" = :bin_id and "p"."id" = :product_id and "w"."account_id" = :tenant
on conflict ("bin_id", "product_id") do update
set "quantity" = excluded."quantity", "counted_at" = CURRENT_TIMESTAMP;

-- name: purge empty counts
delete from "bin_counts" as "bc"
using "bins" as "b", "warehouses" as "w"
where "b"."id" = "bc"."bin_id"
  and "w"."id" = "b"."warehouse_id"
  and "w"."id" = :warehouse_id
  and "w"."account_id" = :tenant
  and "bc"."account_id" = :tenant
  and "bc"."quantity" <= 0;
