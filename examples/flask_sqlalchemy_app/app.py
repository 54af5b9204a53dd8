"""A small bank with Flask-SQLAlchemy over a cluster.

    export GREENSHARD_CLUSTER=cluster.toml
    flask --app examples.flask_sqlalchemy_app.app init-bank
    gunicorn -k gevent 'examples.flask_sqlalchemy_app.app:create_app()'

The file has [shards] only: the models say where their rows are. A transfer writes to the shards of
two accounts in one transaction; the first page asks all of them.
"""

from __future__ import annotations

import os

import flask
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import greenshard
from greenshard.ext.sqlalchemy import Reference, Sharded, cluster_from


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Branch(db.Model):
    __table_args__ = {"info": {"greenshard": Reference()}}
    id: Mapped[int] = mapped_column(primary_key=True)
    town: Mapped[str]


class Account(db.Model):
    __table_args__ = (
        sa.CheckConstraint("balance >= 0", name="covered"),
        {"info": {"greenshard": Sharded("id")}},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    balance: Mapped[int]
    branch_id: Mapped[int] = mapped_column(sa.ForeignKey("branch.id"))


class Entry(db.Model):
    """A line of an account's statement, on the account's shard."""

    account_id: Mapped[int] = mapped_column(sa.ForeignKey("account.id"), primary_key=True)
    id: Mapped[int] = mapped_column(sa.Identity(), primary_key=True)
    amount: Mapped[int]


def create_app(path: str | None = None) -> flask.Flask:
    """The application over the shards of a TOML file."""
    app = flask.Flask(__name__)
    shards = greenshard.Cluster.from_toml(path or os.environ["GREENSHARD_CLUSTER"]).shards
    cluster = cluster_from(Base.metadata, shards)
    app.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+greenshard://"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"cluster": cluster, "pool_pre_ping": True}
    db.init_app(app)
    app.add_url_rule("/", view_func=accounts)
    app.add_url_rule("/transfer", view_func=transfer, methods=["POST"])

    @app.cli.command("init-bank")
    def init_bank() -> None:
        """Prepare the shards, make the tables, and open some accounts."""
        greenshard.init(cluster)
        fill()

    return app


def fill() -> None:
    """Make the tables, and some rows."""
    db.create_all()
    towns = [Branch(town=town) for town in ("Lima", "Oslo")]
    db.session.add_all(towns)
    db.session.flush()
    for number in range(12):
        branch = towns[number % 2].id
        db.session.add(Account(owner=f"owner {number}", balance=100, branch_id=branch))
    db.session.commit()


def accounts() -> str:
    """All accounts, and what each branch holds: of all shards."""
    total = sa.func.sum(Account.balance)
    branches = sa.select(Branch.town, sa.func.count(), total).join(Account).group_by(Branch.town)
    return flask.render_template(
        "accounts.html",
        branches=db.session.execute(branches.order_by(Branch.town)).all(),
        accounts=db.session.scalars(sa.select(Account).order_by(Account.id)).all(),
    )


def transfer() -> flask.typing.ResponseReturnValue:
    """Move money: both accounts, and a line for each, on their two shards or on none."""
    form = flask.request.form
    amount = form.get("amount", 0, type=int)
    if amount <= 0:
        return "an amount is more than nothing", 400
    try:
        for key, change in (("from", -amount), ("to", amount)):
            account = db.get_or_404(Account, form.get(key, type=int))
            account.balance = Account.balance + change
            db.session.add(Entry(account_id=account.id, amount=change))
        db.session.commit()
    except sa.exc.IntegrityError:
        db.session.rollback()
        return "there is not so much on that account", 409
    return flask.redirect(flask.url_for("accounts"), 303)
