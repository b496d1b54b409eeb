-- Corporate spend. Organisations form a tree: a parent reads the money of its subsidiaries, subsidiaries read the
-- published handbook of the parents.
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'spend_app') THEN CREATE ROLE spend_app LOGIN; END IF;
END $$;
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE SCHEMA app;
CREATE TYPE expense_status AS ENUM ('draft', 'submitted', 'approved', 'rejected');

CREATE TABLE organizations (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  parent_id uuid REFERENCES organizations,
  name text NOT NULL,
  CHECK (parent_id IS DISTINCT FROM id)
);
CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL UNIQUE,
  full_name text
);
CREATE TABLE org_members (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  since date NOT NULL DEFAULT current_date,
  PRIMARY KEY (organization_id, user_id)
);
CREATE TABLE currencies (code char(3) PRIMARY KEY, digits int NOT NULL);
INSERT INTO currencies VALUES ('EUR', 2), ('USD', 2), ('JPY', 0);
CREATE TABLE cost_centers (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  code text NOT NULL,
  parent_code text,
  label text NOT NULL,
  PRIMARY KEY (organization_id, code),
  FOREIGN KEY (organization_id, parent_code) REFERENCES cost_centers
);
CREATE TABLE fiscal_periods (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  span daterange NOT NULL,
  EXCLUDE USING gist (organization_id WITH =, span WITH &&)
);
CREATE TABLE budgets (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  title text NOT NULL,
  currency char(3) NOT NULL DEFAULT 'EUR' REFERENCES currencies,
  UNIQUE (organization_id, id)
);
CREATE TABLE budget_lines (
  organization_id uuid NOT NULL,
  budget_id uuid NOT NULL,
  cost_center text NOT NULL,
  amount numeric(14,2) NOT NULL,
  PRIMARY KEY (budget_id, cost_center),
  FOREIGN KEY (organization_id, budget_id) REFERENCES budgets (organization_id, id) ON DELETE CASCADE,
  FOREIGN KEY (organization_id, cost_center) REFERENCES cost_centers ON DELETE CASCADE
);
CREATE TABLE expenses (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  cost_center text,
  spent_by uuid REFERENCES users,
  amount numeric(14,2) NOT NULL CHECK (amount > 0),
  status expense_status NOT NULL DEFAULT 'draft',
  memo text,
  FOREIGN KEY (organization_id, cost_center) REFERENCES cost_centers
);
CREATE TABLE expense_receipts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  expense_id uuid NOT NULL REFERENCES expenses ON DELETE CASCADE,
  file_name text NOT NULL,
  ocr jsonb
);
CREATE TABLE handbook_pages (
  organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
  slug text NOT NULL,
  status text NOT NULL DEFAULT 'draft' CHECK (status IN ('draft', 'published')),
  body text NOT NULL,
  PRIMARY KEY (organization_id, slug)
);

CREATE FUNCTION app.user_id() RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT nullif(current_setting('app.user_id', true), '')::uuid
$$;
CREATE FUNCTION app.my_orgs() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT organization_id FROM org_members WHERE user_id = app.user_id()
$$;
-- mine and everything below
CREATE FUNCTION app.my_orgs_down() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  WITH RECURSIVE t (id) AS (
    SELECT app.my_orgs() UNION SELECT o.id FROM organizations o JOIN t ON o.parent_id = t.id)
  SELECT id FROM t
$$;
-- mine and everything above
CREATE FUNCTION app.my_orgs_up() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  WITH RECURSIVE t (id) AS (
    SELECT app.my_orgs() UNION SELECT o.parent_id FROM organizations o JOIN t ON o.id = t.id WHERE o.parent_id IS NOT NULL)
  SELECT id FROM t
$$;

DO $$
DECLARE t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['cost_centers', 'fiscal_periods', 'budgets', 'budget_lines', 'expenses', 'handbook_pages'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY own ON %I USING (organization_id IN (SELECT app.my_orgs())) WITH CHECK (organization_id IN (SELECT app.my_orgs()))', t);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO spend_app', t);
  END LOOP;
END $$;
CREATE POLICY group_read ON budgets FOR SELECT USING (organization_id IN (SELECT app.my_orgs_down()));
CREATE POLICY group_read ON budget_lines FOR SELECT USING (organization_id IN (SELECT app.my_orgs_down()));
CREATE POLICY group_read ON expenses FOR SELECT
  USING (status <> 'draft' AND organization_id IN (SELECT app.my_orgs_down()));
CREATE POLICY group_handbook ON handbook_pages FOR SELECT
  USING (status = 'published' AND organization_id IN (SELECT app.my_orgs_up()));

ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE org_members ENABLE ROW LEVEL SECURITY;
ALTER TABLE expense_receipts ENABLE ROW LEVEL SECURITY;
CREATE POLICY tree_read ON organizations FOR SELECT USING (id IN (SELECT app.my_orgs_down()));
CREATE POLICY own_rename ON organizations FOR UPDATE USING (id IN (SELECT app.my_orgs()));
CREATE POLICY members_read ON org_members FOR SELECT USING (organization_id IN (SELECT app.my_orgs()));
CREATE POLICY users_read ON users FOR SELECT USING (
  id = app.user_id() OR EXISTS (SELECT 1 FROM org_members m WHERE m.user_id = users.id));
CREATE POLICY users_self ON users FOR UPDATE USING (id = app.user_id());
-- receipts stay with the subsidiary, although its expenses show above
CREATE POLICY receipts_own ON expense_receipts USING (
  EXISTS (SELECT 1 FROM expenses e WHERE e.id = expense_receipts.expense_id AND e.organization_id IN (SELECT app.my_orgs())));

GRANT USAGE ON SCHEMA public, app TO spend_app;
GRANT SELECT ON organizations, users, org_members, currencies TO spend_app;
GRANT UPDATE (name) ON organizations TO spend_app;
GRANT UPDATE (full_name) ON users TO spend_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON expense_receipts TO spend_app;
