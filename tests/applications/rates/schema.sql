-- Brokers with rates of their own for products that all of them sell. No row security: the code is
-- what keeps them apart.
CREATE ROLE rates_code NOLOGIN;
CREATE TABLE brokers (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE people (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE staff (
  broker_id text NOT NULL REFERENCES brokers, person_id text NOT NULL REFERENCES people,
  left_on date, PRIMARY KEY (broker_id, person_id)
);
CREATE TABLE products (code text PRIMARY KEY);
CREATE TABLE rates (
  id text PRIMARY KEY, broker_id text NOT NULL REFERENCES brokers,
  code text NOT NULL REFERENCES products, label text NOT NULL, UNIQUE (broker_id, code)
);
