CREATE TABLE practices (
  id bigserial PRIMARY KEY,
  name character varying NOT NULL,
  subdomain character varying NOT NULL,
  created_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
  updated_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE UNIQUE INDEX index_practices_on_subdomain ON practices (subdomain);

CREATE TABLE patients (
  id bigserial PRIMARY KEY,
  practice_id bigint NOT NULL REFERENCES practices (id),
  name character varying NOT NULL,
  species character varying,
  owner_name character varying NOT NULL,
  created_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
  updated_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE INDEX index_patients_on_practice_id ON patients (practice_id);

CREATE TABLE visits (
  id bigserial PRIMARY KEY,
  practice_id bigint NOT NULL REFERENCES practices (id),
  patient_id bigint NOT NULL REFERENCES patients (id),
  starts_at timestamp(6) without time zone NOT NULL,
  reason character varying,
  created_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
  updated_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE INDEX index_visits_on_practice_id ON visits (practice_id);
CREATE INDEX index_visits_on_patient_id ON visits (patient_id);

CREATE TABLE vaccinations (
  id bigserial PRIMARY KEY,
  patient_id bigint NOT NULL REFERENCES patients (id),
  vaccine character varying NOT NULL,
  given_on date NOT NULL,
  next_due_on date
);
CREATE INDEX index_vaccinations_on_patient_id ON vaccinations (patient_id);

-- belongs_to :notable, polymorphic: true   ("Patient" or "Visit")
CREATE TABLE notes (
  id bigserial PRIMARY KEY,
  practice_id bigint NOT NULL REFERENCES practices (id),
  notable_type character varying NOT NULL,
  notable_id bigint NOT NULL,
  body text NOT NULL,
  created_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL,
  updated_at timestamp(6) without time zone DEFAULT CURRENT_TIMESTAMP NOT NULL
);
CREATE INDEX index_notes_on_notable ON notes (notable_type, notable_id);
CREATE INDEX index_notes_on_practice_id ON notes (practice_id);
