"""Prunes: since when the ledger has the attempts themselves; on PostgreSQL, attempts in partitions by month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op

from pixelmeter.errors import LedgerError

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ATTEMPTS = "pixelmeter_attempts"
_FIRST = "pixelmeter_attempts_first"
_DEFAULT = "pixelmeter_attempts_default"
_WHOLE = "pixelmeter_attempts_whole"


def upgrade() -> None:
    op.create_table(
        "pixelmeter_prunes",
        sa.Column("horizon", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("attempts", _BIG, nullable=False),
        sa.Column("made_by", sa.Text()),
        sa.Column("version", sa.Text(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        _divide()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        _unite()
    op.drop_table("pixelmeter_prunes")


def _divide() -> None:
    """Make the table the first partition of a new one of its name, without a copy; months ahead are made later."""
    # Where a clock was ahead, what belongs to later months is moved out of it.
    [[milliseconds]] = _run(
        "SELECT (extract(epoch FROM date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') * 1000)::bigint"
    )
    bound = UUID(int=int(milliseconds) << 80)
    found = _Found()
    found.refuse()
    _run(f"ALTER TABLE {_ATTEMPTS} RENAME TO {_FIRST}")
    found.replace(f"CREATE TABLE {_ATTEMPTS} (LIKE {_FIRST} INCLUDING DEFAULTS) PARTITION BY RANGE (id)", _FIRST)
    _run(f"CREATE TABLE {_DEFAULT} PARTITION OF {_ATTEMPTS} DEFAULT")
    found.give(_DEFAULT)
    _run(
        f"WITH later AS (DELETE FROM {_FIRST} WHERE id >= '{bound}' RETURNING *)"
        f" INSERT INTO {_ATTEMPTS} SELECT * FROM later"
    )
    # An index of the new table takes the one that the first partition has, if that is the same.
    _run(f"ALTER TABLE {_ATTEMPTS} ATTACH PARTITION {_FIRST} FOR VALUES FROM (MINVALUE) TO ('{bound}')")
    found.settle()


def _unite() -> None:
    """Copy all partitions into one table."""
    found = _Found()
    _run(f"ALTER TABLE {_ATTEMPTS} RENAME TO {_WHOLE}")
    found.replace(f"CREATE TABLE {_ATTEMPTS} (LIKE {_WHOLE} INCLUDING DEFAULTS)", _WHOLE, fill=True)
    found.settle()
    _run(f"DROP TABLE {_WHOLE}")


class _Found:
    """What belongs to the table, by the catalogue: another table that takes its name gets it too."""

    def __init__(self) -> None:
        here = f"'{_ATTEMPTS}'::regclass"
        [[self.owner, self.is_ours]] = _run(
            "SELECT quote_ident(pg_get_userbyid(relowner)), pg_get_userbyid(relowner) = current_user FROM pg_class"
            f" WHERE oid = {here}"
        )
        self.indexes = _run(
            "SELECT quote_ident(c.relname), left(c.relname, 57), replace(pg_get_indexdef(c.oid), ' ON ONLY ', ' ON '),"
            " i.indisprimary FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            f" WHERE i.indrelid = {here} ORDER BY c.relname"
        )
        self.rights = _run(
            "SELECT coalesce(quote_ident(r.rolname), 'PUBLIC'), a.privilege_type, a.is_grantable, quote_ident(a.column)"
            f" FROM (SELECT NULL::name AS column, (aclexplode(relacl)).* FROM pg_class WHERE oid = {here}"
            f" UNION ALL SELECT attname, (aclexplode(attacl)).* FROM pg_attribute WHERE attrelid = {here}) AS a"
            " LEFT JOIN pg_roles AS r ON r.oid = a.grantee WHERE a.grantee <> (SELECT relowner FROM pg_class"
            f" WHERE oid = {here})"
        )
        # Views know the table itself, which keeps them under its other name.
        self.views = _run(
            "SELECT DISTINCT v.oid::regclass::text, pg_get_viewdef(v.oid), array_to_string(v.reloptions, ', ')"
            " FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_class AS v ON v.oid = r.ev_class"
            " WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass"
            f" AND d.refobjid = {here} AND v.relkind = 'v' ORDER BY 1"
        )

    def refuse(self) -> None:
        """Raise LedgerError where something hangs on the table that another one cannot be given."""
        hanging = _run(
            "SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0) FROM pg_depend AS d"
            " LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid"
            " LEFT JOIN pg_index AS i ON i.indexrelid = c.oid"
            " LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid"
            " LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
            " LEFT JOIN pg_class AS v ON v.oid = r.ev_class"
            f" WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = '{_ATTEMPTS}'::regclass"
            " AND (d.classid = 'pg_type'::regclass OR c.relkind = 't' OR v.relkind = 'v'"
            " OR (c.relkind = 'i' AND (i.indisprimary OR NOT i.indisunique))"
            " OR (k.contype IN ('p', 'n') AND k.conrelid = d.refobjid)) IS NOT TRUE ORDER BY 1"
        )
        if hanging:
            raise LedgerError(
                f"{_ATTEMPTS} is to be partitioned, and the new table cannot be given what hangs on the old one: "
                f"{'; '.join(name for [name] in hanging)}. Drop that, upgrade, and make it anew"
            )

    def replace(self, create: str, old: str, *, fill: bool = False) -> None:
        """Make a table in place of the one that is called `old` by now."""
        for name, short, _, _ in self.indexes:
            _run(f'ALTER INDEX {name} RENAME TO "{short.replace(chr(34), chr(34) * 2)}{old.removeprefix(_ATTEMPTS)}"')
        _run(create)
        if fill:
            _run(f"INSERT INTO {_ATTEMPTS} SELECT * FROM {old}")
        self.give(_ATTEMPTS)
        for name, _, definition, is_primary in self.indexes:
            _run(f"ALTER TABLE {_ATTEMPTS} ADD CONSTRAINT {name} PRIMARY KEY (id)" if is_primary else definition)

    def give(self, table: str) -> None:
        """Have the owner of the table own another one."""
        if not self.is_ours:
            _run(f"ALTER TABLE {table} OWNER TO {self.owner}")

    def settle(self) -> None:
        """Give the new table rights and views."""
        # By default privileges it may have others.
        for [role] in _run(
            "SELECT DISTINCT coalesce(quote_ident(r.rolname), 'PUBLIC') FROM (SELECT (aclexplode(relacl)).*, relowner"
            f" FROM pg_class WHERE oid = '{_ATTEMPTS}'::regclass) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee"
            " WHERE a.grantee <> a.relowner"
        ):
            _run(f"REVOKE ALL ON {_ATTEMPTS} FROM {role}")
        for role, right, is_grantable, column in self.rights:
            of = "" if column is None else f" ({column})"
            further = " WITH GRANT OPTION" if is_grantable else ""
            _run(f"GRANT {right}{of} ON {_ATTEMPTS} TO {role}{further}")
        for name, definition, options in self.views:
            with_options = f" WITH ({options})" if options else ""
            # Replaced in place, it keeps its owner, its rights and what is built on it.
            _run(f"CREATE OR REPLACE VIEW {name}{with_options} AS {definition}")


def _run(statement: str) -> Sequence[Any]:
    result = op.get_bind().exec_driver_sql(statement.replace("%", "%%"))
    return result.all() if result.returns_rows else ()
