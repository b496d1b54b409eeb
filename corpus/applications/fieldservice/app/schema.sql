-- Field service: technicians work offline, the phone makes the ids (UUIDv7) and sends its rows when it is back.
CREATE ROLE sync_direct NOLOGIN;
CREATE TABLE companies (
  id         uuid PRIMARY KEY,
  name       text NOT NULL,
  plan       text NOT NULL DEFAULT 'basic' CHECK (plan IN ('basic', 'pro'))
);
CREATE TABLE technicians (
  id     uuid PRIMARY KEY,
  phone  text NOT NULL UNIQUE,
  name   text NOT NULL
);
CREATE TABLE employments (
  id            uuid PRIMARY KEY,
  company_id    uuid NOT NULL REFERENCES companies,
  technician_id uuid NOT NULL REFERENCES technicians,
  active        boolean NOT NULL DEFAULT true,
  UNIQUE (company_id, technician_id)
);
CREATE TABLE sites (
  id         uuid PRIMARY KEY,
  company_id uuid NOT NULL REFERENCES companies,
  address    text NOT NULL,
  access     jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(access) = 'object')
);
CREATE TABLE visits (
  id            uuid PRIMARY KEY,
  company_id    uuid NOT NULL REFERENCES companies,
  site_id       uuid NOT NULL REFERENCES sites,
  technician_id uuid NOT NULL REFERENCES technicians,
  summary       text NOT NULL,
  minutes       integer NOT NULL DEFAULT 0 CHECK (minutes BETWEEN 0 AND 1440),
  revision      integer NOT NULL DEFAULT 1
);
CREATE TABLE visit_log (
  id        bigserial PRIMARY KEY,
  company_id uuid NOT NULL REFERENCES companies,
  visit_id  uuid NOT NULL,
  operation text NOT NULL
);
CREATE FUNCTION log_visit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO visit_log (company_id, visit_id, operation) VALUES (NEW.company_id, NEW.id, TG_OP);
  RETURN NEW;
END $$;
CREATE TRIGGER visits_log AFTER INSERT OR UPDATE ON visits FOR EACH ROW EXECUTE FUNCTION log_visit();
