"""The SQL that ``tenantfuzz explain`` shows runs, before and after the mend."""

from collections.abc import Iterator

import psycopg
import pytest

from tenantfuzz.codes import Code, all_codes, example_prelude
from tenantfuzz.engines import Server, start_embedded

EXAMPLES = [code for code in all_codes().values() if code.leaky]
DATABASE = "tf_scratch_examples"


@pytest.fixture(scope="module")
def prelude() -> Iterator[Server]:
    with start_embedded() as server:
        server.create_database(DATABASE)
        with psycopg.connect(server.conninfo(DATABASE), autocommit=True) as conn:
            conn.execute(example_prelude().encode())
        yield server


def run(server: Server, code: Code, text: str) -> None:
    name = f"{DATABASE}_{code.code.lower()}"
    server.create_database(name, template=DATABASE)
    try:
        with psycopg.connect(server.conninfo(name), autocommit=True) as conn:
            # One request: statements outside BEGIN … COMMIT share a transaction.
            conn.execute(text.encode())
    finally:
        server.drop_database(name)


@pytest.mark.parametrize("code", EXAMPLES, ids=lambda code: code.code)
def test_both_examples_run(prelude: Server, code: Code) -> None:
    run(prelude, code, code.leaky)
    run(prelude, code, code.mended)
