-- the ORM cannot model composite foreign keys
ALTER TABLE shop.shipments DROP CONSTRAINT shipments_order_fk;
ALTER TABLE shop.shipments ADD CONSTRAINT shipments_order_id_fkey
  FOREIGN KEY (order_id) REFERENCES shop.orders (id) ON DELETE CASCADE;
