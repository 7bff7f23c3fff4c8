import hashlib

import pytest
import sqlalchemy as sa

from infra.database import reading
from infra.errors import UserError
from infra.ledger import Ledger
from infra.tokens import ADMIN, FEEDBACK, PREDICT, create, digest, revoke, token_book, tokens

CREATE = """
import sys
from infra.database import open_database
from infra.errors import UserError
from infra.tokens import create
try:
    create(open_database(sys.argv[1]), "hall-3", "predict", actor="test")
    print("made")
except UserError:
    print("taken")
"""


def everything_in(engine):
    """All rows of all tables, as one text."""
    with reading(engine) as connection:
        tables = sa.inspect(connection).get_table_names()
        return repr([connection.execute(sa.text(f'select * from "{name}"')).all() for name in tables])  # noqa: S608


def kinds(engine):
    return [(row.kind, row.actor, row.facts["name"]) for row in Ledger(engine).rows("tokens")]


def test_a_token_is_kept_only_as_the_hash_of_its_secret(engine):
    new = create(engine, "hall-3", PREDICT, actor="ada")

    kept = everything_in(engine)
    assert new.secret.startswith("kedge_")
    assert len(new.secret) == len("kedge_") + 43  # 256 bits in base 64
    assert new.secret not in kept
    assert new.secret.removeprefix("kedge_") not in kept
    assert hashlib.sha256(new.secret.encode()).hexdigest() in kept
    assert tokens(engine) == (new.token,)
    assert (new.token.name, new.token.role, new.token.created_by) == ("hall-3", "predict", "ada")


def test_creation_and_revocation_are_told_in_the_ledger_without_secret_or_hash(engine):
    new = create(engine, "hall-3", PREDICT, actor="ada")
    revoke(engine, "hall-3", actor="bob")

    ledger = Ledger(engine)
    assert kinds(engine) == [("created", "ada", "hall-3"), ("revoked", "bob", "hall-3")]
    assert all(
        row.facts == {"token": new.token.id, "name": "hall-3", "role": "predict"} for row in ledger.rows("tokens")
    )
    assert digest(new.secret.encode()).hex() not in repr(ledger.rows("tokens"))
    assert ledger.verify("tokens") is None


def test_a_name_belongs_to_one_living_token(engine):
    first = create(engine, "hall-3", PREDICT, actor="ada")

    with pytest.raises(UserError) as refused:
        create(engine, "hall-3", ADMIN, actor="ada")
    revoke(engine, "hall-3", actor="ada")
    second = create(engine, "hall-3", ADMIN, actor="ada")

    assert str(refused.value) == (
        "There is a living token 'hall-3' already, with the role predict. "
        "Choose another name, or revoke that one first: kedge token revoke hall-3"
    )
    assert [token.id for token in tokens(engine)] == [first.token.id, second.token.id]
    assert first.secret != second.secret


def test_of_two_processes_that_make_the_same_name_one_is_told_that_it_is_taken(engine, database_url, at_once):
    told = at_once(CREATE, [database_url], [database_url])

    assert sorted(told) == ["made", "taken"]
    assert kinds(engine) == [("created", "test", "hall-3")]


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_token_is_revoked_by_its_name_or_its_id(engine, by):
    new = create(engine, "hall-3", PREDICT, actor="ada")
    other = create(engine, "hall-4", FEEDBACK, actor="ada")

    revoked = revoke(engine, getattr(new.token, by), actor="ada")

    assert (revoked.id, revoked.name) == (new.token.id, "hall-3")
    assert revoked.revoked_at is not None
    assert [known.id for known in token_book(engine).living] == [other.token.id]
    with pytest.raises(UserError) as refused:
        revoke(engine, getattr(new.token, by), actor="ada")
    assert str(refused.value).endswith("there are: hall-4. `kedge token list` tells.")


@pytest.mark.parametrize("name", ["", " ", "-x", "a b", "x" * 81, "\x1b[31mred", "naïve", "a\n"])
def test_a_name_that_could_not_be_typed_or_shown_is_refused_and_leaves_nothing(engine, name):
    with pytest.raises(UserError, match="A token's name should be 1 to 80 letters"):
        create(engine, name, PREDICT, actor="ada")

    assert (tokens(engine), kinds(engine)) == ((), [])


def test_a_role_that_nobody_knows_is_refused_and_leaves_nothing(engine):
    with pytest.raises(UserError) as refused:
        create(engine, "hall-3", "root", actor="ada")

    assert str(refused.value) == "A token's role should be predict, feedback or admin; found 'root'."
    assert (tokens(engine), kinds(engine)) == ((), [])


def test_the_book_knows_the_living_and_that_there_were_others(engine):
    before = token_book(engine)
    new = create(engine, "hall-3", FEEDBACK, actor="ada")
    between = token_book(engine)
    revoke(engine, "hall-3", actor="ada")
    after = token_book(engine)

    assert (before.living, before.any_ever, new.first) == ((), False, True)
    ((known,), any_ever) = between.living, between.any_ever
    assert (known.id, known.role, known.sha256, any_ever) == (
        new.token.id, "feedback", hashlib.sha256(new.secret.encode()).digest(), True
    )  # fmt: skip
    assert (after.living, after.any_ever) == ((), True)
    assert not create(engine, "hall-3", FEEDBACK, actor="ada").first
