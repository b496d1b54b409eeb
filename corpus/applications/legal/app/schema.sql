-- Chambers: matters and documents of law firms. The API server owns the tables; firms are separated in code.
CREATE ROLE chambers_bi NOLOGIN;
CREATE SCHEMA chambers;

CREATE TABLE chambers.firms (
  id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name  text NOT NULL
);
CREATE TABLE chambers.people (
  id     uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email  text NOT NULL UNIQUE,
  name   text NOT NULL
);
CREATE TABLE chambers.firm_people (
  firm_id   uuid NOT NULL REFERENCES chambers.firms ON DELETE CASCADE,
  person_id uuid NOT NULL REFERENCES chambers.people ON DELETE CASCADE,
  rank      text NOT NULL CHECK (rank IN ('partner', 'associate', 'secretary')),
  revoked   boolean NOT NULL DEFAULT false,
  PRIMARY KEY (firm_id, person_id)
);
CREATE TABLE chambers.matters (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  firm_id    uuid NOT NULL REFERENCES chambers.firms ON DELETE CASCADE,
  reference  text NOT NULL,
  title      text NOT NULL,
  sealed     boolean NOT NULL DEFAULT false,
  closed_at  timestamptz,
  UNIQUE (firm_id, reference)
);
CREATE TABLE chambers.documents (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  firm_id     uuid NOT NULL REFERENCES chambers.firms ON DELETE CASCADE,
  matter_id   uuid NOT NULL REFERENCES chambers.matters ON DELETE CASCADE,
  filename    text NOT NULL,
  meta        jsonb NOT NULL DEFAULT '{}',
  deleted_at  timestamptz
);
CREATE TABLE chambers.document_events (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  document_id uuid NOT NULL REFERENCES chambers.documents ON DELETE CASCADE,
  person_id   uuid REFERENCES chambers.people,
  what        text NOT NULL,
  at          timestamptz NOT NULL DEFAULT now()
);
