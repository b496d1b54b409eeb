"""What the processes of an adapter find in their environment: one database, and no other."""

import psycopg
import pytest
from psycopg import conninfo

from tenantfuzz.adapters.running import environment_for, url_of


@pytest.mark.parametrize(
    "dsn",
    [
        "host=/tmp/a_b port=5432 user=postgres dbname=scratch_1",
        r"host=db.example port=6543 user=o\'brien password='p@ss/w:rd' dbname=x sslmode=require",
        "host=::1 port=5432 user=u dbname=d",
    ],
)
def test_the_address_means_what_the_server_said(dsn: str) -> None:
    parts = conninfo.conninfo_to_dict(dsn)
    url = url_of({k: str(v) for k, v in parts.items()})
    assert conninfo.conninfo_to_dict(url) == parts


def test_no_other_database_is_in_reach() -> None:
    given = {
        "PATH": "/bin",
        "DATABASE_URL": "postgres://app:secret@production/app",
        "DIRECT_URL": "postgresql://app:secret@production/app",
        "REDIS_URL": "redis://cache",
        "PGHOST": "production",
        "PGSERVICE": "production",
        "PGPASSWORD": "secret",
    }
    found = environment_for("host=/tmp/s port=5432 user=postgres dbname=scratch", given)
    address = "postgresql://postgres@localhost/scratch?host=%2Ftmp%2Fs&port=5432"
    assert found.pop("TENANTFUZZ_NODE").endswith("/adapters/node/index.mjs")
    assert found == {
        "PATH": "/bin",
        "DATABASE_URL": address,
        "DIRECT_URL": address,
        "REDIS_URL": "redis://cache",
        "PGHOST": "/tmp/s",
        "PGPORT": "5432",
        "PGUSER": "postgres",
        "PGDATABASE": "scratch",
        "TENANTFUZZ_DSN": address,
    }


def test_a_password_is_passed_on() -> None:
    found = environment_for("host=h port=1 user=u password=p dbname=d", {})
    assert found["PGPASSWORD"] == "p"
    assert psycopg.conninfo.conninfo_to_dict(found["TENANTFUZZ_DSN"])["password"] == "p"
