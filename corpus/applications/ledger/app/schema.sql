CREATE TABLE companies (
    id   serial PRIMARY KEY,
    name text NOT NULL
);

-- the chart of accounts: each company numbers its own
CREATE TABLE accounts (
    id          serial PRIMARY KEY,
    company_id  integer NOT NULL REFERENCES companies (id),
    code        varchar(12) NOT NULL,
    parent_code varchar(12),
    name        text NOT NULL,
    UNIQUE (company_id, code),
    FOREIGN KEY (company_id, parent_code) REFERENCES accounts (company_id, code)
);

CREATE TABLE journal_entries (
    id         serial PRIMARY KEY,
    company_id integer NOT NULL REFERENCES companies (id),
    booked_on  date NOT NULL,
    memo       text NOT NULL DEFAULT ''
);

CREATE TABLE journal_lines (
    id         serial PRIMARY KEY,
    entry_id   integer NOT NULL REFERENCES journal_entries (id) ON DELETE CASCADE,
    account_id integer NOT NULL REFERENCES accounts (id),
    debit      numeric(14,2) NOT NULL DEFAULT 0,
    credit     numeric(14,2) NOT NULL DEFAULT 0
);
