-- Medical laboratory orders. The assay catalogue has the vendor's assays (lab_id is null) and each lab's own.
CREATE ROLE lab_bi NOLOGIN;
CREATE TYPE order_state AS ENUM ('draft', 'released', 'cancelled');
CREATE TABLE labs (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL
);
CREATE TABLE users (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL UNIQUE
);
CREATE TABLE lab_members (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  lab_id uuid NOT NULL REFERENCES labs ON DELETE CASCADE,
  user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
  role text NOT NULL DEFAULT 'tech' CHECK (role IN ('tech', 'doctor')),
  ended_at timestamptz,
  UNIQUE (lab_id, user_id)
);
CREATE TABLE assays (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  lab_id uuid REFERENCES labs ON DELETE CASCADE,
  code text NOT NULL,
  title text NOT NULL,
  settings jsonb NOT NULL DEFAULT '{}',
  retired boolean NOT NULL DEFAULT false
);
CREATE UNIQUE INDEX assays_code ON assays (lab_id, lower(code));
CREATE TABLE patients (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  lab_id uuid NOT NULL REFERENCES labs ON DELETE CASCADE,
  pseudonym text NOT NULL,
  birth_year integer CHECK (birth_year > 1900)
);
CREATE TABLE lab_orders (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  lab_id uuid NOT NULL REFERENCES labs ON DELETE CASCADE,
  patient_id uuid NOT NULL REFERENCES patients,
  state order_state NOT NULL DEFAULT 'draft',
  ordered_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE order_lines (
  order_id uuid NOT NULL REFERENCES lab_orders ON DELETE CASCADE,
  assay_id uuid NOT NULL REFERENCES assays,
  priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 9),
  PRIMARY KEY (order_id, assay_id)
);
