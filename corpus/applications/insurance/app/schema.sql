-- Insurance brokers: each brokerage has its own tariffs (commission, discounts) per product code.
CREATE ROLE broker_ro NOLOGIN;
CREATE TABLE brokerage (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  country char(2) NOT NULL DEFAULT 'AT'
);
CREATE TABLE employee (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  login text NOT NULL UNIQUE
);
CREATE TABLE assignment (
  brokerage_id bigint NOT NULL REFERENCES brokerage,
  employee_id bigint NOT NULL REFERENCES employee,
  until date,
  PRIMARY KEY (brokerage_id, employee_id)
);
CREATE TABLE product (
  code text PRIMARY KEY,
  insurer text NOT NULL
);
CREATE TABLE tariff (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  brokerage_id bigint NOT NULL REFERENCES brokerage,
  product_code text NOT NULL REFERENCES product,
  label text NOT NULL,
  rate numeric(7,4) NOT NULL CHECK (rate > 0),
  commission numeric(5,2) NOT NULL DEFAULT 0,
  UNIQUE (brokerage_id, product_code)
);
CREATE TABLE client (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  brokerage_id bigint NOT NULL REFERENCES brokerage,
  name text NOT NULL,
  tax_no text
);
CREATE TABLE contract (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  brokerage_id bigint NOT NULL REFERENCES brokerage,
  client_id bigint NOT NULL REFERENCES client,
  product_code text NOT NULL REFERENCES product,
  sum_insured numeric(14,2) NOT NULL CHECK (sum_insured > 0),
  cancelled_on date
);
