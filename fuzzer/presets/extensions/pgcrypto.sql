-- Stands in for the extension pgcrypto where the server does not have it: what can be had from
-- built-in functions. crypt, gen_salt, hmac, encrypt, decrypt and pgp_* cannot.

CREATE OR REPLACE FUNCTION digest(data bytea, type text) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $digest$
DECLARE
    result bytea;
BEGIN
    result := CASE pg_catalog.lower(type)
        WHEN 'md5' THEN pg_catalog.decode(pg_catalog.md5(data), 'hex')
        WHEN 'sha224' THEN pg_catalog.sha224(data)
        WHEN 'sha256' THEN pg_catalog.sha256(data)
        WHEN 'sha384' THEN pg_catalog.sha384(data)
        WHEN 'sha512' THEN pg_catalog.sha512(data)
    END;
    IF result IS NULL THEN
        RAISE EXCEPTION 'Cannot use "%": no such hash algorithm in this stand-in', type
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN result;
END
$digest$;

CREATE OR REPLACE FUNCTION digest(data text, type text) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
    AS $digest$
DECLARE
    bytes bytea := pg_catalog.convert_to(data, pg_catalog.getdatabaseencoding()::text);
    result bytea;
BEGIN
    result := CASE pg_catalog.lower(type)
        WHEN 'md5' THEN pg_catalog.decode(pg_catalog.md5(bytes), 'hex')
        WHEN 'sha224' THEN pg_catalog.sha224(bytes)
        WHEN 'sha256' THEN pg_catalog.sha256(bytes)
        WHEN 'sha384' THEN pg_catalog.sha384(bytes)
        WHEN 'sha512' THEN pg_catalog.sha512(bytes)
    END;
    IF result IS NULL THEN
        RAISE EXCEPTION 'Cannot use "%": no such hash algorithm in this stand-in', type
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN result;
END
$digest$;

CREATE OR REPLACE FUNCTION gen_random_bytes(count integer) RETURNS bytea
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL SAFE
    AS $random$
DECLARE
    result bytea := '';
BEGIN
    IF count < 1 OR count > 1024 THEN
        RAISE EXCEPTION 'Length not in range'
            USING ERRCODE = 'external_routine_invocation_exception';
    END IF;
    -- The first six bytes of a version 4 UUID are random throughout.
    WHILE pg_catalog.length(result) < count LOOP
        result := result OPERATOR(pg_catalog.||) pg_catalog.substring(
            pg_catalog.uuid_send(pg_catalog.gen_random_uuid()), 1, 6
        );
    END LOOP;
    RETURN pg_catalog.substring(result, 1, count);
END
$random$;

COMMENT ON FUNCTION digest(bytea, text)
    IS 'stands in for the extension pgcrypto';
COMMENT ON FUNCTION digest(text, text)
    IS 'stands in for the extension pgcrypto';
COMMENT ON FUNCTION gen_random_bytes(integer)
    IS 'stands in for the extension pgcrypto';
