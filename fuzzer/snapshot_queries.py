"""The questions that a snapshot asks of the catalog. Works on PostgreSQL 13 to 18.

Each yields rows whose first columns say to which object and under which name the text belongs.
"""

_SYSTEM = "('pg_catalog', 'information_schema', 'pg_toast')"


def _acl(column: str, kind: str, owner: str) -> str:
    """Grants as text, the default ones included, in an order that does not depend on history."""
    return f"""(SELECT string_agg(x.entry, ',' ORDER BY x.entry) FROM (
      SELECT concat_ws('/', CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END,
                       a.privilege_type, a.is_grantable) AS entry
      FROM aclexplode(coalesce({column}, acldefault({kind}, {owner}))) a) x)"""


def _of_extension(table: str, oid: str) -> str:
    return (
        f"EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{table}'::regclass "
        f"AND d.objid = {oid} AND d.deptype = 'e')"
    )


_KIND = "CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\""
# Defaults that are another value whenever the schema is loaded.
_OTHERWISE_EACH_TIME = (
    r"\m(now|\w+_timestamp|timeofday|random|gen_random\w*|uuid_generate\w*|uuidv[0-9]|nanoid"
    r"|CURRENT_(DATE|TIME|TIMESTAMP)|LOCALTIME\w*)\M"
)
_SCHEMA = "pg_get_userbyid(n.nspowner), " + _acl("n.nspacl", "'n'", "n.nspowner")

RELATIONS = f"""
SELECT c.oid, c.reltype, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       concat_ws(E'\\n', c.relkind, c.relpersistence, c.reloptions::text,
                 pg_get_expr(c.relpartbound, c.oid), pg_get_partkeydef(c.oid),
                 CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END) AS definition,
       concat_ws(E'\\n', c.relrowsecurity, c.relforcerowsecurity) AS row_security,
       pg_get_userbyid(c.relowner) AS owner,
       concat_ws(E'\\n', {_acl("c.relacl", _KIND, "c.relowner")},
                 {_SCHEMA}) AS grants,
       ARRAY(SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid) AS parents
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't'
  AND n.nspname NOT IN {_SYSTEM} AND n.nspname !~ '^pg_(temp|toast)'
  AND NOT {_of_extension("pg_class", "c.oid")}
"""

COLUMNS = f"""
SELECT a.attrelid AS relation, a.attname AS name,
       concat_ws(E'\\n', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated,
                 a.attidentity, pg_get_expr(d.adbin, d.adrelid),
                 (SELECT o.collname FROM pg_collation o WHERE o.oid = a.attcollation)) AS text,
       CASE WHEN a.attacl IS NOT NULL THEN
         {_acl("a.attacl", "'c'", "c.relowner")} END AS grants,
       coalesce(pg_get_expr(d.adbin, d.adrelid) ~* '{_OTHERWISE_EACH_TIME}', false) AS passing
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""

CONSTRAINTS = """
SELECT oid, conrelid AS relation, contypid AS type, conname AS name, contype::text AS kind,
       concat_ws(E'\\n', pg_get_constraintdef(oid), convalidated) AS text,
       CASE WHEN contype = 'f' THEN confrelid END AS target,
       confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd') AS writes
FROM pg_constraint WHERE conrelid = ANY(%s) OR contypid = ANY(%s)
"""

INDEXES = """
SELECT i.indexrelid AS oid, i.indrelid AS relation, c.relname AS name, i.indisunique AS counts,
       pg_get_indexdef(i.indexrelid) AS text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = ANY(%s)
"""

POLICIES = """
SELECT p.oid, p.polrelid AS relation, p.polname AS name,
       concat_ws(E'\\n', p.polcmd, p.polpermissive,
                 (SELECT string_agg(r.rolname, ',' ORDER BY r.rolname) FROM pg_roles r
                  WHERE r.oid = ANY(p.polroles)),
                 'using ' || pg_get_expr(p.polqual, p.polrelid),
                 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)) AS text
FROM pg_policy p WHERE p.polrelid = ANY(%s)
"""

TRIGGERS = """
SELECT t.oid, t.tgrelid AS relation, t.tgname AS name,
       concat_ws(E'\\n', pg_get_triggerdef(t.oid), t.tgenabled) AS text
FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgrelid = ANY(%s)
"""

RULES = """
SELECT r.oid, r.ev_class AS relation, r.rulename AS name,
       concat_ws(E'\\n', pg_get_ruledef(r.oid), r.ev_enabled) AS text
FROM pg_rewrite r WHERE r.ev_class = ANY(%s)
"""

FUNCTIONS = f"""
SELECT p.oid, n.nspname AS schema, p.proname AS name,
       pg_get_function_identity_arguments(p.oid) AS arguments, l.lanname AS language,
       p.prosrc AS source, p.prosecdef AS definer, pg_get_userbyid(p.proowner) AS owner,
       concat_ws(E'\\n', CASE WHEN p.prokind = 'a' THEN
                   (SELECT concat_ws(E'\\n', a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
                                     format_type(a.aggtranstype, NULL), a.agginitval)
                    FROM pg_aggregate a WHERE a.aggfnoid = p.oid)
                 ELSE pg_get_functiondef(p.oid) END,
                 pg_get_userbyid(p.proowner),
                 {_acl("p.proacl", "'f'", "p.proowner")}, {_SCHEMA}) AS text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname NOT IN {_SYSTEM} AND n.nspname !~ '^pg_temp'
  AND NOT {_of_extension("pg_proc", "p.oid")}
"""

TYPES = f"""
SELECT t.oid, t.typrelid, n.nspname AS schema, t.typname AS name,
       concat_ws(E'\\n', t.typtype, t.typnotnull, t.typdefault,
         format_type(t.typbasetype, t.typtypmod),
         (SELECT string_agg(e.enumlabel, E'\\n' ORDER BY e.enumsortorder) FROM pg_enum e
          WHERE e.enumtypid = t.oid),
         (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), E'\\n'
                            ORDER BY a.attnum)
          FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0
            AND NOT a.attisdropped),
         (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid)) AS text
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE n.nspname NOT IN {_SYSTEM} AND n.nspname !~ '^pg_(temp|toast)'
  AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
  AND NOT {_of_extension("pg_type", "t.oid")}
"""

ARRAYS = "SELECT oid, typelem AS element FROM pg_type WHERE typelem <> 0 AND oid >= 16384"

DEFAULTS = "SELECT oid, adrelid AS relation FROM pg_attrdef WHERE adrelid = ANY(%s)"

# What is pinned (the system's own) is not recorded; columns count as their relation.
DEPENDENCIES = """
SELECT classid::regclass::text AS class, objid, refclassid::regclass::text AS refclass, refobjid
FROM pg_depend
WHERE refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
  AND refobjid >= 16384 AND deptype <> 'e'
"""

# What stands in no relation's way in particular, and so in everybody's.
CONTEXT = {
    "extensions": "SELECT extname, extversion FROM pg_extension ORDER BY 1",
    "settings of the database": """
        SELECT unnest(s.setconfig) FROM pg_db_role_setting s
        LEFT JOIN pg_database b ON b.oid = s.setdatabase
        WHERE s.setrole = 0 AND (s.setdatabase = 0 OR b.datname = current_database()) ORDER BY 1""",
    "database privileges": "SELECT "
    + _acl("b.datacl", "'d'", "b.datdba")
    + " FROM pg_database b WHERE b.datname = current_database()",
    "search path": "SELECT array_to_string(current_schemas(false), ',')",
    "event triggers": """
        SELECT e.evtname, e.evtevent, e.evtenabled, e.evtfoid::regprocedure::text
        FROM pg_event_trigger e ORDER BY 1""",
    "operators": f"""
        SELECT o.oid::regoperator::text, o.oprcode::text FROM pg_operator o
        JOIN pg_namespace n ON n.oid = o.oprnamespace
        WHERE n.nspname NOT IN {_SYSTEM} AND NOT {_of_extension("pg_operator", "o.oid")}
        ORDER BY 1, 2""",
    "casts": f"""
        SELECT c.castsource::regtype::text, c.casttarget::regtype::text, c.castcontext,
               c.castfunc::regprocedure::text
        FROM pg_cast c WHERE c.oid >= 16384 AND NOT {_of_extension("pg_cast", "c.oid")}
        ORDER BY 1, 2""",
    "collations": f"""
        SELECT n.nspname, c.collname, c.collprovider, c.collisdeterministic FROM pg_collation c
        JOIN pg_namespace n ON n.oid = c.collnamespace
        WHERE n.nspname NOT IN {_SYSTEM} AND NOT {_of_extension("pg_collation", "c.oid")}
        ORDER BY 1, 2""",
    "languages": "SELECT lanname, lanpltrusted FROM pg_language ORDER BY 1",
}
