"""Placeholders in SQL and in the templates of settings."""

import json

import pytest

from tenantfuzz.policies.placeholders import (
    Binding,
    bind_sql,
    is_json_template,
    render_template,
    template_words,
    uses_placeholder,
)

BINDING = Binding(tenant="t1", user="u1", tenants=("t1", "t2"))


@pytest.mark.parametrize(
    ("sql", "bound"),
    [
        ("org = :tenant", "org = 't1'"),
        ("assignee = :user AND org = :tenant", "assignee = 'u1' AND org = 't1'"),
        ("org = ANY (:tenants)", 'org = ANY (\'{"t1","t2"}\')'),
        # A cast after a placeholder, and casts that look like placeholders.
        (":tenant::uuid", "'t1'::uuid"),
        ("x::tenant", "x::tenant"),
        ("x::user", "x::user"),
        # Other words stay.
        (":tenancy :users :tenant_id", ":tenancy :users :tenant_id"),
        ("a[1:user]", "a[1:user]"),
        # Nothing inside strings, quoted names, dollar quotes or comments.
        ("':tenant'", "':tenant'"),
        ("'it''s :tenant' || :tenant", "'it''s :tenant' || 't1'"),
        ("E'\\':tenant' || :tenant", "E'\\':tenant' || 't1'"),
        ('":tenant" = :tenant', "\":tenant\" = 't1'"),
        ('"a"":tenant" = :user', '"a"":tenant" = \'u1\''),
        ("$$:tenant$$ || :tenant", "$$:tenant$$ || 't1'"),
        ("$a$ :tenant $$ :user $a$ || :user", "$a$ :tenant $$ :user $a$ || 'u1'"),
        # A backslash escapes in E strings only; a quote in a comment opens no string.
        (r"x LIKE 'a\' AND org = :tenant AND y = 'b'", r"x LIKE 'a\' AND org = 't1' AND y = 'b'"),
        ("true /* don't: :tenant */ AND org = :tenant", "true /* don't: :tenant */ AND org = 't1'"),
        ("true -- of :tenant\nAND org = :tenant", "true -- of :tenant\nAND org = 't1'"),
    ],
)
def test_binding(sql: str, bound: str) -> None:
    assert bind_sql(sql, BINDING) == bound


def test_bound_values_are_literals_whatever_they_hold() -> None:
    nasty = Binding(tenant="'; DROP TABLE x --", user="a\\'b", tenants=('q"r', "s\\t", "u'v"))
    assert bind_sql("x = :tenant", nasty) == "x = '''; DROP TABLE x --'"
    assert bind_sql("x = :user", nasty) == "x = E'a\\\\''b'"
    # The array literal escapes " and \ once, the string literal its own once more.
    assert bind_sql(":tenants", nasty) == 'E\'{"q\\\\"r","s\\\\\\\\t","u\'\'v"}\''


def test_values_that_look_like_placeholders_are_not_bound_again() -> None:
    assert bind_sql(":user", Binding(user=":tenant", tenant="t")) == "':tenant'"


def test_absent_values_are_null_and_an_empty_array() -> None:
    assert bind_sql("a = :tenant AND b = :user", Binding()) == "a = NULL AND b = NULL"
    assert bind_sql("a = ANY (:tenants)", Binding()) == "a = ANY ('{}')"


def test_uses_placeholder_tells_them_apart() -> None:
    assert uses_placeholder("org = ANY (:tenants)", "tenants")
    assert not uses_placeholder("org = ANY (:tenants)", "tenant")
    assert not uses_placeholder("note = ':user'", "user")
    assert uses_placeholder("note = ':user' OR owner = :user", "user")


def test_template_words_come_in_order() -> None:
    assert template_words('{"sub": "{user.id}", "org": "{tenant.id}"}') == ("user.id", "tenant.id")
    assert template_words("{user} {x} plain") == ()


ATTRIBUTES = {
    "user.id": "u1",
    "tenant.id": "7",
    "user.name": 'A "B" \\ C',
    "user.team": None,
    "user.nan": "NaN",
}


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("{user.id}", "u1"),
        ("org-{tenant.id}:{user.id}", "org-7:u1"),
        ("constant", "constant"),
        ("{user.name}", 'A "B" \\ C'),
        # An attribute that is missing or NULL leaves out the whole setting.
        ("{user.team}", None),
        ("{user.id}/{user.nope}", None),
    ],
)
def test_plain_templates(template: str, rendered: str | None) -> None:
    assert render_template(template, ATTRIBUTES) == rendered


@pytest.mark.parametrize(
    ("template", "document"),
    [
        ('{"sub": "{user.id}", "n": 1}', {"sub": "u1", "n": 1}),
        ('{"sub": "{user.name}"}', {"sub": 'A "B" \\ C'}),
        # Bare: a number where it is one.
        (
            '{"org": {tenant.id}, "orgs": [{tenant.id}, "{tenant.id}"]}',
            {"org": 7, "orgs": [7, "7"]},
        ),
        ('{"who": {user.id}}', {"who": "u1"}),
        ('{"who": {user.nan}}', {"who": "NaN"}),
        # Missing attributes leave out their key or element, and no more than that.
        ('{"a": "{user.team}", "b": {user.nope}, "c": null}', {"c": None}),
        ('{"meta": {"team": "x-{user.team}", "id": "{user.id}"}}', {"meta": {"id": "u1"}}),
        ('["{user.team}", "{user.id}"]', ["u1"]),
        ('{"{user.id}": true}', {"u1": True}),
        ('{"{user.team}": true, "x": 2}', {"x": 2}),
    ],
)
def test_json_templates(template: str, document: object) -> None:
    rendered = render_template(template, ATTRIBUTES)
    assert rendered is not None
    assert json.loads(rendered) == document


def test_an_inserted_value_cannot_leave_its_string() -> None:
    rendered = render_template('{"sub": "{user.id}"}', {"user.id": '", "role": "admin'})
    assert rendered is not None
    assert json.loads(rendered) == {"sub": '", "role": "admin'}


def test_what_is_a_json_template() -> None:
    assert is_json_template('{"sub": "{user.id}"}')
    assert is_json_template(" [{tenant.id}]")
    assert not is_json_template("{tenant.id}")
    assert not is_json_template("{user.id}, {tenant.id}")
    assert not is_json_template('"text"')
    assert not is_json_template('{"sub": }')
