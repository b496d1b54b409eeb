-- Billing for agencies, on plain PostgreSQL: the application connects as one role and names the
-- tenant in a setting; every key starts with the tenant.
DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'app') THEN
    CREATE ROLE app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
  END IF;
END
$$;

CREATE TYPE plan AS ENUM ('free', 'team', 'business');
CREATE TYPE invoice_status AS ENUM ('draft', 'sent', 'paid', 'void');

CREATE TABLE tenants (
  id text PRIMARY KEY CHECK (char_length(id) BETWEEN 1 AND 40),
  name text NOT NULL,
  plan plan NOT NULL DEFAULT 'free',
  created_at timestamptz NOT NULL DEFAULT now()
);

-- The catalogue, the same for all tenants.
CREATE TABLE products (
  id text PRIMARY KEY,
  name text NOT NULL,
  unit_price numeric(10, 2) NOT NULL CHECK (unit_price >= 0)
);

CREATE TABLE customers (
  tenant_id text NOT NULL REFERENCES tenants (id),
  id text NOT NULL DEFAULT gen_random_uuid()::text,
  name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
  email text,
  tags text[] NOT NULL DEFAULT '{}',
  settings jsonb NOT NULL DEFAULT '{}',
  archived_at timestamptz,
  PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX customers_email_key ON customers (tenant_id, lower(email))
  WHERE archived_at IS NULL;
CREATE INDEX customers_tags_idx ON customers USING gin (tags);

CREATE TABLE projects (
  tenant_id text NOT NULL REFERENCES tenants (id),
  id text NOT NULL DEFAULT gen_random_uuid()::text,
  customer_id text NOT NULL,
  parent_id text,
  name text NOT NULL,
  state text NOT NULL DEFAULT 'planned' CHECK (state IN ('planned', 'running', 'done')),
  budget numeric(12, 2) CHECK (budget BETWEEN 0 AND 1000000),
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
  FOREIGN KEY (tenant_id, parent_id) REFERENCES projects (tenant_id, id),
  CHECK (state <> 'done' OR finished_at IS NOT NULL)
);
CREATE UNIQUE INDEX projects_name_key ON projects (tenant_id, name);
CREATE INDEX projects_customer_idx ON projects (tenant_id, customer_id);

CREATE TABLE invoices (
  tenant_id text NOT NULL REFERENCES tenants (id),
  id text NOT NULL DEFAULT gen_random_uuid()::text,
  customer_id text NOT NULL,
  project_id text,
  number integer NOT NULL CHECK (number > 0),
  status invoice_status NOT NULL DEFAULT 'draft',
  note text,
  issued_on date NOT NULL DEFAULT current_date,
  paid_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, number),
  FOREIGN KEY (tenant_id, customer_id) REFERENCES customers (tenant_id, id),
  FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id),
  CHECK (status <> 'paid' OR paid_at IS NOT NULL)
);
-- A customer has at most one draft.
CREATE UNIQUE INDEX invoices_draft_key ON invoices (tenant_id, customer_id)
  WHERE status = 'draft';

CREATE TABLE invoice_lines (
  tenant_id text NOT NULL,
  invoice_id text NOT NULL,
  line_no integer NOT NULL CHECK (line_no BETWEEN 1 AND 999),
  product_id text REFERENCES products (id),
  description text NOT NULL,
  quantity integer NOT NULL DEFAULT 1 CHECK (quantity BETWEEN 1 AND 10000),
  unit_price numeric(10, 2) NOT NULL DEFAULT 0,
  amount numeric(14, 2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
  PRIMARY KEY (tenant_id, invoice_id, line_no),
  FOREIGN KEY (tenant_id, invoice_id) REFERENCES invoices (tenant_id, id) ON DELETE CASCADE
);

CREATE TABLE events (
  tenant_id text NOT NULL REFERENCES tenants (id),
  id text NOT NULL DEFAULT gen_random_uuid()::text,
  occurred_at timestamptz NOT NULL,
  kind text NOT NULL CHECK (kind IN ('login', 'export', 'invoice_sent')),
  payload jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (tenant_id, id, occurred_at)
) PARTITION BY RANGE (occurred_at);
CREATE TABLE events_2025_01 PARTITION OF events
  FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2025-02-01 00:00+00');
CREATE TABLE events_2025_02 PARTITION OF events
  FOR VALUES FROM ('2025-02-01 00:00+00') TO ('2025-03-01 00:00+00');
CREATE TABLE events_2025_03 PARTITION OF events
  FOR VALUES FROM ('2025-03-01 00:00+00') TO ('2025-04-01 00:00+00');
CREATE INDEX events_occurred_idx ON events (tenant_id, occurred_at);

-- What runs in the application's name may do, and on which rows. A setting that is missing or empty
-- is NULL, and equals nothing. Neither the ids of tenants nor the catalogue are the application's to
-- change; TRUNCATE, which row security does not govern, is granted to nobody.
GRANT SELECT ON tenants, products TO app;
GRANT UPDATE (name) ON tenants TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON customers, projects, invoices, invoice_lines TO app;
-- Events are a log: written once, and reached through the parent alone.
GRANT SELECT, INSERT ON events TO app;

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE invoices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE invoice_lines ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
-- The policies of the parent do not hold for a statement that names a partition.
ALTER TABLE events_2025_01 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events_2025_02 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE events_2025_03 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant_isolation ON tenants TO app
  USING (id = nullif(current_setting('app.current_tenant', true), ''));
CREATE POLICY tenant_isolation ON customers TO app
  USING (tenant_id = nullif(current_setting('app.current_tenant', true), ''));
CREATE POLICY tenant_isolation ON projects TO app
  USING (tenant_id = nullif(current_setting('app.current_tenant', true), ''));
CREATE POLICY tenant_isolation ON invoices TO app
  USING (tenant_id = nullif(current_setting('app.current_tenant', true), ''));
CREATE POLICY tenant_isolation ON invoice_lines TO app
  USING (tenant_id = nullif(current_setting('app.current_tenant', true), ''));
CREATE POLICY tenant_isolation ON events TO app
  USING (tenant_id = nullif(current_setting('app.current_tenant', true), ''));
