-- Stands in for the extension pg_net: requests are numbered, and never sent.

CREATE SCHEMA IF NOT EXISTS net;

CREATE SEQUENCE IF NOT EXISTS net.http_request_queue_id_seq;

CREATE OR REPLACE FUNCTION net.http_get(
    url text,
    params jsonb DEFAULT '{}',
    headers jsonb DEFAULT '{}',
    timeout_milliseconds integer DEFAULT 5000
) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT nextval('net.http_request_queue_id_seq') $$;

CREATE OR REPLACE FUNCTION net.http_post(
    url text,
    body jsonb DEFAULT '{}',
    params jsonb DEFAULT '{}',
    headers jsonb DEFAULT '{"Content-Type": "application/json"}',
    timeout_milliseconds integer DEFAULT 5000
) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT nextval('net.http_request_queue_id_seq') $$;

CREATE OR REPLACE FUNCTION net.http_delete(
    url text,
    params jsonb DEFAULT '{}',
    headers jsonb DEFAULT '{}',
    timeout_milliseconds integer DEFAULT 2000
) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT nextval('net.http_request_queue_id_seq') $$;

COMMENT ON FUNCTION net.http_get(text, jsonb, jsonb, integer)
    IS 'stands in for the extension pg_net';
COMMENT ON FUNCTION net.http_post(text, jsonb, jsonb, jsonb, integer)
    IS 'stands in for the extension pg_net';
COMMENT ON FUNCTION net.http_delete(text, jsonb, jsonb, integer)
    IS 'stands in for the extension pg_net';
