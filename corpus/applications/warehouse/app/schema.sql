create table "accounts" (
  "id" uuid not null default gen_random_uuid() primary key,
  "name" varchar(255) not null,
  "created_at" timestamptz not null default CURRENT_TIMESTAMP
);

create table "warehouses" (
  "id" uuid not null default gen_random_uuid() primary key,
  "account_id" uuid not null,
  "name" varchar(255) not null
);
alter table "warehouses" add constraint "warehouses_account_id_foreign" foreign key ("account_id") references "accounts" ("id") on delete CASCADE;

create table "bins" (
  "id" uuid not null default gen_random_uuid() primary key,
  "warehouse_id" uuid not null,
  "label" varchar(40) not null
);
alter table "bins" add constraint "bins_warehouse_id_foreign" foreign key ("warehouse_id") references "warehouses" ("id") on delete CASCADE;
alter table "bins" add constraint "bins_warehouse_id_label_unique" unique ("warehouse_id", "label");

create table "products" (
  "id" uuid not null default gen_random_uuid() primary key,
  "account_id" uuid not null,
  "sku" varchar(64) not null,
  "name" varchar(255) not null
);
alter table "products" add constraint "products_account_id_foreign" foreign key ("account_id") references "accounts" ("id") on delete CASCADE;
alter table "products" add constraint "products_account_id_sku_unique" unique ("account_id", "sku");

create table "bin_counts" (
  "id" bigserial primary key,
  "account_id" uuid not null,
  "bin_id" uuid not null,
  "product_id" uuid not null,
  "quantity" integer not null default 0,
  "counted_at" timestamptz not null default CURRENT_TIMESTAMP
);
alter table "bin_counts" add constraint "bin_counts_account_id_foreign" foreign key ("account_id") references "accounts" ("id") on delete CASCADE;
alter table "bin_counts" add constraint "bin_counts_bin_id_foreign" foreign key ("bin_id") references "bins" ("id") on delete CASCADE;
alter table "bin_counts" add constraint "bin_counts_product_id_foreign" foreign key ("product_id") references "products" ("id") on delete CASCADE;
alter table "bin_counts" add constraint "bin_counts_bin_id_product_id_unique" unique ("bin_id", "product_id");
