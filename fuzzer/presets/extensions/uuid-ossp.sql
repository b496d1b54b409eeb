-- Stands in for the extension uuid-ossp where the server does not have it. Versions 1, 3 and 5
-- have the right form and the right dependence on their arguments, but not the standard's values.

CREATE OR REPLACE FUNCTION uuid_nil() RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT '00000000-0000-0000-0000-000000000000'::uuid $$;

CREATE OR REPLACE FUNCTION uuid_ns_dns() RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT '6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid $$;

CREATE OR REPLACE FUNCTION uuid_ns_url() RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT '6ba7b811-9dad-11d1-80b4-00c04fd430c8'::uuid $$;

CREATE OR REPLACE FUNCTION uuid_ns_oid() RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT '6ba7b812-9dad-11d1-80b4-00c04fd430c8'::uuid $$;

CREATE OR REPLACE FUNCTION uuid_ns_x500() RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT '6ba7b814-9dad-11d1-80b4-00c04fd430c8'::uuid $$;

CREATE OR REPLACE FUNCTION uuid_generate_v4() RETURNS uuid
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    AS $$ SELECT pg_catalog.gen_random_uuid() $$;

CREATE OR REPLACE FUNCTION uuid_generate_v1() RETURNS uuid
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    AS $$
        SELECT pg_catalog.overlay(pg_catalog.gen_random_uuid()::text, '1', 15)::uuid
    $$;

CREATE OR REPLACE FUNCTION uuid_generate_v1mc() RETURNS uuid
    LANGUAGE sql VOLATILE STRICT PARALLEL SAFE
    AS $$
        SELECT pg_catalog.overlay(pg_catalog.gen_random_uuid()::text, '1', 15)::uuid
    $$;

CREATE OR REPLACE FUNCTION uuid_generate_v3(namespace uuid, name text) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
        SELECT pg_catalog.overlay(
            pg_catalog.overlay(pg_catalog.md5(namespace::text || name), '3', 13), '8', 17
        )::uuid
    $$;

CREATE OR REPLACE FUNCTION uuid_generate_v5(namespace uuid, name text) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$
        SELECT pg_catalog.overlay(
            pg_catalog.overlay(pg_catalog.md5(namespace::text || '/' || name), '5', 13), '8', 17
        )::uuid
    $$;

COMMENT ON FUNCTION uuid_nil()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_ns_dns()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_ns_url()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_ns_oid()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_ns_x500()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_generate_v4()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_generate_v1()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_generate_v1mc()
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_generate_v3(uuid, text)
    IS 'stands in for the extension uuid-ossp';
COMMENT ON FUNCTION uuid_generate_v5(uuid, text)
    IS 'stands in for the extension uuid-ossp';
