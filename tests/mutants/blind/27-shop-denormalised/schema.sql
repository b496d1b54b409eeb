-- Shop back office: one setting names the account, triggers fill it in, children repeat it.
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'shop_clerk') THEN CREATE ROLE shop_clerk LOGIN; END IF;
END $$;
CREATE SCHEMA shop;
CREATE TYPE shop.order_state AS ENUM ('cart', 'placed', 'shipped', 'returned');
CREATE DOMAIN shop.money AS numeric(12,2) CHECK (VALUE >= 0);

CREATE TABLE shop.accounts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL
);
CREATE TABLE shop.countries (iso char(2) PRIMARY KEY, name text NOT NULL);
INSERT INTO shop.countries VALUES ('AT', 'Austria'), ('DE', 'Germany'), ('PT', 'Portugal');

CREATE FUNCTION shop.account() RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('shop.account', true), '')::uuid
$$;
CREATE FUNCTION shop.fill_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.account_id IS NULL THEN NEW.account_id := shop.account(); END IF;
  RETURN NEW;
END $$;

CREATE TABLE shop.customers (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  account_id uuid NOT NULL REFERENCES shop.accounts ON DELETE CASCADE,
  email text NOT NULL,
  default_address int,
  CONSTRAINT one_email UNIQUE (account_id, email),
  UNIQUE (account_id, id)
);
CREATE TABLE shop.addresses (
  account_id uuid NOT NULL,
  customer_id uuid NOT NULL,
  no int NOT NULL,
  street text NOT NULL,
  country char(2) NOT NULL REFERENCES shop.countries,
  PRIMARY KEY (account_id, customer_id, no),
  FOREIGN KEY (account_id, customer_id) REFERENCES shop.customers (account_id, id) ON DELETE CASCADE
);
ALTER TABLE shop.customers ADD CONSTRAINT default_address_exists
  FOREIGN KEY (account_id, id, default_address) REFERENCES shop.addresses DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE shop.products (
  account_id uuid NOT NULL REFERENCES shop.accounts ON DELETE CASCADE,
  sku text NOT NULL CHECK (sku <> ''),
  title text NOT NULL,
  price shop.money NOT NULL,
  attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
  PRIMARY KEY (account_id, sku)
);
CREATE TABLE shop.orders (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  account_id uuid NOT NULL REFERENCES shop.accounts ON DELETE CASCADE,
  customer_id uuid NOT NULL,
  number int NOT NULL,
  state shop.order_state NOT NULL DEFAULT 'cart',
  placed_at timestamptz,
  CHECK (state = 'cart' OR placed_at IS NOT NULL),
  UNIQUE (account_id, number),
  UNIQUE (account_id, id),
  FOREIGN KEY (account_id, customer_id) REFERENCES shop.customers (account_id, id)
);
CREATE TABLE shop.order_lines (
  order_id uuid NOT NULL,
  line_no int NOT NULL CHECK (line_no > 0),
  account_id uuid NOT NULL,
  sku text NOT NULL,
  quantity int NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
  unit_price shop.money NOT NULL,
  PRIMARY KEY (account_id, order_id, line_no),
  CONSTRAINT order_lines_order_fk FOREIGN KEY (account_id, order_id) REFERENCES shop.orders (account_id, id) ON DELETE CASCADE,
  CONSTRAINT order_lines_product_fk FOREIGN KEY (account_id, sku) REFERENCES shop.products
);
CREATE TABLE shop.shipments (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  account_id uuid NOT NULL,
  order_id uuid NOT NULL,
  carrier text NOT NULL,
  tracking text,
  CONSTRAINT shipments_order_fk FOREIGN KEY (account_id, order_id) REFERENCES shop.orders (account_id, id) ON DELETE CASCADE
);
CREATE TABLE shop.coupon_codes (
  account_id uuid NOT NULL REFERENCES shop.accounts ON DELETE CASCADE,
  code text NOT NULL,
  percent int NOT NULL CHECK (percent BETWEEN 1 AND 100),
  valid tstzrange,
  PRIMARY KEY (account_id, code)
);

ALTER TABLE shop.accounts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.accounts FOR SELECT USING (id = shop.account());
DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['customers', 'addresses', 'products', 'orders', 'order_lines', 'shipments', 'coupon_codes'] LOOP
    EXECUTE format('ALTER TABLE shop.%I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE TRIGGER fill_account BEFORE INSERT ON shop.%I FOR EACH ROW EXECUTE FUNCTION shop.fill_account()', t);
    EXECUTE format('CREATE POLICY tenant_write ON shop.%I USING (account_id = shop.account()) WITH CHECK (account_id = shop.account())', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON shop.%I TO shop_clerk', t);
  END LOOP;
END $$;
-- the order screen reads lines and shipments through their order
CREATE POLICY of_order ON shop.order_lines FOR SELECT USING (EXISTS (SELECT 1 FROM shop.orders o WHERE o.id = order_lines.order_id));
CREATE POLICY of_order ON shop.shipments FOR SELECT USING (EXISTS (SELECT 1 FROM shop.orders o WHERE o.id = shipments.order_id));

GRANT USAGE ON SCHEMA shop TO shop_clerk;
GRANT SELECT ON shop.accounts, shop.countries TO shop_clerk;
