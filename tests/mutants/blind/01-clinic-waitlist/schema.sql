-- Doctors' practices on one database. The web tier logs in as clinic_app and sets app.practice_id.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'clinic_app') THEN
    CREATE ROLE clinic_app LOGIN;
  END IF;
END $$;

CREATE FUNCTION current_practice() RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('app.practice_id', true), '')::uuid $$;

CREATE TABLE practices (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  name text NOT NULL,
  timezone text NOT NULL DEFAULT 'Europe/Berlin'
);

CREATE TABLE patients (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  practice_id uuid NOT NULL REFERENCES practices ON DELETE CASCADE,
  record_no text NOT NULL,
  full_name text NOT NULL,
  born_on date CHECK (born_on > DATE '1900-01-01'),
  UNIQUE (practice_id, record_no),
  UNIQUE (practice_id, id)
);

CREATE TABLE rooms (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  practice_id uuid NOT NULL REFERENCES practices ON DELETE CASCADE,
  label text NOT NULL,
  UNIQUE (practice_id, label),
  UNIQUE (practice_id, id)
);

CREATE TABLE appointments (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  practice_id uuid NOT NULL REFERENCES practices ON DELETE CASCADE,
  patient_id uuid NOT NULL,
  room_id uuid,
  status text NOT NULL DEFAULT 'booked' CHECK (status IN ('booked', 'arrived', 'done', 'cancelled')),
  starts_at timestamptz NOT NULL,
  ends_at timestamptz NOT NULL,
  note text,
  CHECK (ends_at > starts_at),
  FOREIGN KEY (practice_id, patient_id) REFERENCES patients (practice_id, id) ON DELETE CASCADE,
  FOREIGN KEY (practice_id, room_id) REFERENCES rooms (practice_id, id)
);

CREATE TABLE waitlist_entries (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  practice_id uuid NOT NULL REFERENCES practices ON DELETE CASCADE,
  contact_name text NOT NULL,
  phone text,
  status text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'called', 'closed')),
  closed_at timestamptz,
  CHECK ((status = 'closed') = (closed_at IS NOT NULL))
);

ALTER TABLE practices ENABLE ROW LEVEL SECURITY;
ALTER TABLE patients ENABLE ROW LEVEL SECURITY;
ALTER TABLE rooms ENABLE ROW LEVEL SECURITY;
ALTER TABLE appointments ENABLE ROW LEVEL SECURITY;
ALTER TABLE waitlist_entries ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_practice ON practices FOR SELECT USING (id = current_practice());
CREATE POLICY own_practice_settings ON practices FOR UPDATE USING (id = current_practice());
CREATE POLICY practice_patients ON patients USING (practice_id = current_practice());
CREATE POLICY practice_rooms ON rooms USING (practice_id = current_practice());
CREATE POLICY practice_appointments ON appointments USING (practice_id = current_practice());
CREATE POLICY waitlist_read ON waitlist_entries FOR SELECT USING (practice_id = current_practice());
CREATE POLICY waitlist_add ON waitlist_entries FOR INSERT WITH CHECK (practice_id = current_practice());
CREATE POLICY waitlist_change ON waitlist_entries FOR UPDATE
  USING (practice_id = current_practice() AND status <> 'closed')
  WITH CHECK (practice_id = current_practice());
CREATE POLICY waitlist_remove ON waitlist_entries FOR DELETE USING (practice_id = current_practice());

GRANT SELECT ON practices TO clinic_app;
GRANT UPDATE (name, timezone) ON practices TO clinic_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON patients, rooms, appointments, waitlist_entries TO clinic_app;
