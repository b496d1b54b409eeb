-- A help desk: people work for one organisation or for several. There are no policies: the
-- application's code is all that keeps organisations apart.
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'desk_code') THEN
    CREATE ROLE desk_code LOGIN;
  END IF;
END $$;
CREATE TABLE orgs (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE people (id text PRIMARY KEY, name text NOT NULL, phone text);
CREATE TABLE members (
  org_id text NOT NULL REFERENCES orgs, person_id text NOT NULL REFERENCES people,
  title text, PRIMARY KEY (org_id, person_id)
);
CREATE TABLE queues (
  id text PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, name text NOT NULL,
  UNIQUE (org_id, id)
);
CREATE TABLE tickets (
  id text PRIMARY KEY, org_id text NOT NULL REFERENCES orgs, queue_id text NOT NULL,
  assignee_id text REFERENCES people, subject text NOT NULL,
  FOREIGN KEY (org_id, queue_id) REFERENCES queues (org_id, id)
);
CREATE TABLE replies (
  id text PRIMARY KEY, org_id text NOT NULL REFERENCES orgs,
  ticket_id text NOT NULL REFERENCES tickets, body text NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO desk_code;
