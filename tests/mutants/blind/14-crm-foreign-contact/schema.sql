-- CRM in a schema of its own; activities are partitioned by month. The organisation is a namespaced claim.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'crm_rest') THEN
    CREATE ROLE crm_rest NOLOGIN;
    CREATE ROLE crm_login LOGIN NOINHERIT;
    GRANT crm_rest TO crm_login;
  END IF;
END $$;

CREATE SCHEMA crm;
GRANT USAGE ON SCHEMA crm TO crm_rest;

CREATE FUNCTION crm.org() RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT nullif(nullif(current_setting('request.jwt.claims', true), '')::json
                -> 'https://crm.example/claims' ->> 'org_id', '')::uuid
$$;

CREATE TABLE crm.orgs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, plan text NOT NULL DEFAULT 'free');
CREATE TABLE crm.contacts (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  org_id uuid NOT NULL REFERENCES crm.orgs ON DELETE CASCADE,
  name text NOT NULL,
  email text,
  UNIQUE (org_id, id)
);
CREATE UNIQUE INDEX ON crm.contacts (org_id, lower(email));
CREATE TABLE crm.deals (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  org_id uuid NOT NULL REFERENCES crm.orgs ON DELETE CASCADE,
  contact_id uuid,
  title text NOT NULL,
  stage text NOT NULL DEFAULT 'lead' CHECK (stage IN ('lead', 'offer', 'won', 'lost')),
  value_eur numeric(12,2) CHECK (value_eur >= 0),
  UNIQUE (org_id, id),
  CONSTRAINT deals_contact_fkey FOREIGN KEY (org_id, contact_id) REFERENCES crm.contacts (org_id, id)
);
CREATE TABLE crm.activities (
  org_id uuid NOT NULL REFERENCES crm.orgs ON DELETE CASCADE,
  id uuid NOT NULL DEFAULT gen_random_uuid(),
  deal_id uuid NOT NULL,
  happened_on date NOT NULL,
  kind text NOT NULL CHECK (kind IN ('call', 'mail', 'visit')),
  summary text,
  PRIMARY KEY (org_id, id, happened_on),
  FOREIGN KEY (org_id, deal_id) REFERENCES crm.deals (org_id, id) ON DELETE CASCADE
) PARTITION BY RANGE (happened_on);
CREATE TABLE crm.activities_2025_01 PARTITION OF crm.activities FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE crm.activities_2025_02 PARTITION OF crm.activities FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');

ALTER TABLE crm.orgs ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.contacts ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.deals ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.activities ENABLE ROW LEVEL SECURITY;
-- Nobody but the owner reaches the partitions themselves.
ALTER TABLE crm.activities_2025_01 ENABLE ROW LEVEL SECURITY;
ALTER TABLE crm.activities_2025_02 ENABLE ROW LEVEL SECURITY;

CREATE POLICY org_self ON crm.orgs FOR SELECT USING (id = crm.org());
CREATE POLICY org_contacts ON crm.contacts USING (org_id = crm.org()) WITH CHECK (org_id = crm.org());
CREATE POLICY org_deals ON crm.deals USING (org_id = crm.org()) WITH CHECK (org_id = crm.org());
CREATE POLICY org_activities ON crm.activities USING (org_id = crm.org()) WITH CHECK (org_id = crm.org());

GRANT SELECT ON crm.orgs TO crm_rest;
GRANT SELECT, INSERT, UPDATE, DELETE ON crm.contacts, crm.deals, crm.activities TO crm_rest;
