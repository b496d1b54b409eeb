-- Practice management: the browser carries an opaque session token, the API puts it into app.session.
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'clinic_api') THEN CREATE ROLE clinic_api LOGIN; END IF;
END $$;
CREATE SCHEMA app;
CREATE TYPE staff_role AS ENUM ('doctor', 'nurse', 'reception');
CREATE TYPE visit_state AS ENUM ('booked', 'arrived', 'done', 'no_show');

CREATE TABLE clinics (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
  timezone text NOT NULL DEFAULT 'Europe/Vienna'
);
CREATE TABLE staff (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  email text NOT NULL UNIQUE,
  display_name text NOT NULL
);
CREATE TABLE clinic_staff (
  clinic_id uuid NOT NULL REFERENCES clinics ON DELETE CASCADE,
  staff_id uuid NOT NULL REFERENCES staff ON DELETE CASCADE,
  role staff_role NOT NULL DEFAULT 'doctor',
  left_on date,
  PRIMARY KEY (clinic_id, staff_id)
);
CREATE TABLE sessions (
  token text PRIMARY KEY,
  staff_id uuid NOT NULL REFERENCES staff ON DELETE CASCADE,
  clinic_id uuid NOT NULL REFERENCES clinics ON DELETE CASCADE,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL DEFAULT now() + interval '12 hours',
  revoked_at timestamptz
);
CREATE TABLE medications (
  code text PRIMARY KEY CHECK (code ~ '^[A-Z][0-9]{2}$'),
  label text NOT NULL
);
INSERT INTO medications VALUES ('A01', 'Ibuprofen 400 mg'), ('A02', 'Amoxicillin 500 mg'), ('B01', 'Insulin glargine');
CREATE TABLE patients (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  clinic_id uuid NOT NULL REFERENCES clinics ON DELETE CASCADE,
  record_no int NOT NULL,
  full_name text NOT NULL,
  born date,
  allergies text[] NOT NULL DEFAULT '{}',
  UNIQUE (clinic_id, record_no),
  UNIQUE (clinic_id, id)
);
CREATE TABLE appointments (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  clinic_id uuid NOT NULL,
  patient_id uuid NOT NULL,
  starts_at timestamptz NOT NULL,
  minutes int NOT NULL DEFAULT 20 CHECK (minutes BETWEEN 5 AND 240),
  state visit_state NOT NULL DEFAULT 'booked',
  reason text,
  FOREIGN KEY (clinic_id, patient_id) REFERENCES patients (clinic_id, id) ON DELETE CASCADE
);
CREATE TABLE encounters (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  clinic_id uuid NOT NULL,
  patient_id uuid NOT NULL,
  author_id uuid REFERENCES staff ON DELETE SET NULL,
  findings text NOT NULL DEFAULT '',
  UNIQUE (clinic_id, id),
  FOREIGN KEY (clinic_id, patient_id) REFERENCES patients (clinic_id, id) ON DELETE CASCADE
);
CREATE TABLE encounter_notes (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  encounter_id uuid NOT NULL REFERENCES encounters ON DELETE CASCADE,
  body text NOT NULL
);
CREATE TABLE prescriptions (
  clinic_id uuid NOT NULL,
  encounter_id uuid NOT NULL,
  line_no int NOT NULL CHECK (line_no > 0),
  medication_code text NOT NULL REFERENCES medications,
  dosage text NOT NULL,
  PRIMARY KEY (encounter_id, line_no),
  FOREIGN KEY (clinic_id, encounter_id) REFERENCES encounters (clinic_id, id) ON DELETE CASCADE
);

-- Who is behind the session, and where: only while the employment lasts.
CREATE FUNCTION app.current_staff() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT s.staff_id FROM sessions s
  WHERE s.token = nullif(current_setting('app.session', true), '') AND s.revoked_at IS NULL AND s.expires_at > now()
$$;
CREATE FUNCTION app.current_clinic() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT s.clinic_id FROM sessions s JOIN clinic_staff m ON m.clinic_id = s.clinic_id AND m.staff_id = s.staff_id
  WHERE s.token = nullif(current_setting('app.session', true), '') AND s.revoked_at IS NULL AND s.expires_at > now()
    AND m.left_on IS NULL
$$;
CREATE FUNCTION app.is_clinician() RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT EXISTS (SELECT 1 FROM clinic_staff m WHERE m.clinic_id = app.current_clinic()
                 AND m.staff_id = app.current_staff() AND m.role IN ('doctor', 'nurse') AND m.left_on IS NULL)
$$;
-- For the clinic switcher in the header.
CREATE FUNCTION app.my_clinics() RETURNS SETOF uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT m.clinic_id FROM clinic_staff m WHERE m.staff_id = app.current_staff() AND m.left_on IS NULL
$$;

ALTER TABLE clinics ENABLE ROW LEVEL SECURITY;
ALTER TABLE staff ENABLE ROW LEVEL SECURITY;
ALTER TABLE clinic_staff ENABLE ROW LEVEL SECURITY;
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE patients ENABLE ROW LEVEL SECURITY;
ALTER TABLE appointments ENABLE ROW LEVEL SECURITY;
ALTER TABLE encounters ENABLE ROW LEVEL SECURITY;
ALTER TABLE encounter_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE prescriptions ENABLE ROW LEVEL SECURITY;

CREATE POLICY clinics_read ON clinics FOR SELECT USING (id IN (SELECT app.my_clinics()));
CREATE POLICY staff_read ON staff FOR SELECT USING (
  id = app.current_staff()
  OR EXISTS (SELECT 1 FROM clinic_staff m
             WHERE m.staff_id = staff.id AND m.clinic_id = app.current_clinic() AND m.left_on IS NULL));
CREATE POLICY clinic_staff_read ON clinic_staff FOR SELECT USING (clinic_id = app.current_clinic());
CREATE POLICY patients_clinic ON patients USING (clinic_id = app.current_clinic());
CREATE POLICY appointments_clinic ON appointments
  USING (clinic_id = app.current_clinic()) WITH CHECK (clinic_id = app.current_clinic());
CREATE POLICY encounters_clinic ON encounters USING (clinic_id = app.current_clinic() AND app.is_clinician());
CREATE POLICY encounter_notes_clinic ON encounter_notes USING (
  app.is_clinician() AND EXISTS (SELECT 1 FROM encounters e WHERE e.id = encounter_notes.encounter_id));
CREATE POLICY prescriptions_clinic ON prescriptions USING (clinic_id = app.current_clinic() AND app.is_clinician());

GRANT USAGE ON SCHEMA public, app TO clinic_api;
GRANT SELECT ON clinics, staff, clinic_staff, medications TO clinic_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON patients, appointments, encounters, encounter_notes, prescriptions TO clinic_api;
