-- Applicant tracking. Text ids (ULID), JSONB for what recruiters invent. Scoping is done by rewriting SQL (talent/tenancy.py).
CREATE ROLE talent_adhoc NOLOGIN;
CREATE TABLE workspaces (
  id text PRIMARY KEY,
  title text NOT NULL
);
CREATE TABLE recruiters (
  id text PRIMARY KEY,
  email text NOT NULL UNIQUE
);
CREATE TABLE seats (
  workspace_id text NOT NULL REFERENCES workspaces,
  recruiter_id text NOT NULL REFERENCES recruiters,
  expires_at timestamptz,
  PRIMARY KEY (workspace_id, recruiter_id)
);
CREATE TABLE jobs (
  id text PRIMARY KEY,
  workspace_id text NOT NULL REFERENCES workspaces,
  title text NOT NULL,
  open boolean NOT NULL DEFAULT true
);
CREATE TABLE candidates (
  id text PRIMARY KEY,
  workspace_id text NOT NULL REFERENCES workspaces,
  name text NOT NULL,
  profile jsonb NOT NULL DEFAULT '{}',
  referred_by text REFERENCES candidates,
  archived_at timestamptz
);
CREATE TABLE applications (
  id text PRIMARY KEY,
  workspace_id text NOT NULL REFERENCES workspaces,
  job_id text NOT NULL REFERENCES jobs,
  candidate_id text NOT NULL REFERENCES candidates,
  stage text NOT NULL DEFAULT 'new' CHECK (stage IN ('new', 'interview', 'offer', 'hired', 'rejected')),
  score integer CHECK (score BETWEEN 0 AND 100)
);
