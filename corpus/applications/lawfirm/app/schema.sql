CREATE TABLE firms (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL
);

CREATE TABLE matters (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id     bigint NOT NULL REFERENCES firms,
    name        text NOT NULL,
    client_name text NOT NULL
);

CREATE TABLE documents (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    firm_id   bigint NOT NULL REFERENCES firms,
    matter_id bigint NOT NULL REFERENCES matters,
    title     text NOT NULL,
    filed_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX documents_by_filing ON documents (firm_id, filed_at DESC, id DESC);

CREATE TABLE time_entries (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matter_id bigint NOT NULL REFERENCES matters,
    worked_on date NOT NULL,
    minutes   integer NOT NULL
);
