"""A small Django site: migrate, and what its ORM and admin do; tells what each step gave, as JSON.

Arguments: the shards' connection strings. With one, Django's settings
name its database; with several, a cluster.
"""

from __future__ import annotations

import datetime as dt
import json
import sys

import django
from django.apps import AppConfig
from django.conf import settings
from psycopg2.extensions import parse_dsn

import greenshard


class Shop(AppConfig):
    """The application of the models below."""

    name, label, path = "__main__", "shop", "."


dsns = sys.argv[1:]
backend = {"ENGINE": "greenshard.ext.django"}
if len(dsns) > 1:
    tables = {
        "shop_order": greenshard.Sharded("id"),
        "shop_item": greenshard.Sharded("order_id"),
    }
    cluster = greenshard.Cluster({f"s{n}": dsn for n, dsn in enumerate(dsns)}, tables)
    greenshard.init(cluster)
    backend["OPTIONS"] = {"cluster": cluster, "undeclared": "reference"}
else:
    part = parse_dsn(dsns[0])
    backend |= {
        "NAME": part["dbname"],
        "USER": part["user"],
        "HOST": part["host"],
        "PORT": part["port"],
    }
settings.configure(
    DATABASES={"default": backend},
    INSTALLED_APPS=[
        "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
        "django.contrib.admin", "django.contrib.messages", "__main__.Shop",
    ],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="of a test",
)  # fmt: skip
django.setup()

from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import NestedObjects
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import IntegrityError, connection, models, transaction
from django.db.models import Avg, Count, Exists, F, Max, Min, OuterRef, Q, Subquery, Sum, Window
from django.db.models.functions import Now, Rank, TruncMonth, Upper


class Nation(models.Model):
    name = models.CharField(max_length=20, unique=True)

    class Meta:
        app_label = "shop"


class Order(models.Model):
    customer = models.CharField(max_length=20, db_index=True)
    amount = models.DecimalField(max_digits=8, decimal_places=2)
    at = models.DateTimeField(auto_now_add=True)
    made = models.DateTimeField(db_default=Now())
    nation = models.ForeignKey(Nation, null=True, on_delete=models.SET_NULL)
    doc = models.JSONField(default=dict)

    class Meta:
        app_label = "shop"
        ordering = ("-id",)


class Item(models.Model):
    pk = models.CompositePrimaryKey("order_id", "n")
    order = models.ForeignKey(Order, on_delete=models.CASCADE, related_name="items")
    n = models.IntegerField()
    word = models.CharField(max_length=9)

    class Meta:
        app_label = "shop"


STEPS = []


def step(function):
    STEPS.append(function)
    return function


@step
def migrate():
    call_command("migrate", verbosity=0)
    with connection.schema_editor() as editor:
        for model in (Nation, Order, Item):
            editor.create_model(model)
    return sorted(connection.introspection.table_names())


@step
def save():
    nation = Nation.objects.create(name="Peru")
    order = Order.objects.create(customer="a", amount="1.50", nation=nation, doc={"a": [1]})
    order.amount = 7
    order.save()
    order.refresh_from_db()
    return order.pk, order.amount, order.doc, abs(order.made - order.at) < dt.timedelta(1)


@step
def bulk_create():
    made = Order.objects.bulk_create(Order(customer=f"c{n % 5}", amount=n) for n in range(50))
    Item.objects.bulk_create(
        Item(order=order, n=n, word="w" * n) for order in made[:10] for n in range(3)
    )
    # Keys come back in the order of the objects.
    stored = [Order.objects.get(pk=each.pk).amount for each in made[::7]]
    return stored, Order.objects.count(), Item.objects.count()


@step
def upsert():
    two = [Nation(name="Peru"), Nation(name="Chad")]
    Nation.objects.bulk_create(two, ignore_conflicts=True)
    Nation.objects.bulk_create(
        [Nation(id=1, name="Perú")],
        update_conflicts=True, unique_fields=["id"], update_fields=["name"],
    )  # fmt: skip
    made = Nation.objects.get_or_create(name="Mali")[1]
    again = Nation.objects.update_or_create(name="Mali", defaults={"name": "Mali"})[1]
    return made, again, sorted(Nation.objects.values_list("name", flat=True))


@step
def bulk_update():
    orders = list(Order.objects.all()[:9])
    for order in orders:
        order.customer = "many"
    return Order.objects.bulk_update(orders, ["customer"]), [o.pk for o in orders]


@step
def aggregates():
    by_customer = Order.objects.order_by().values("customer")
    totals = by_customer.annotate(Count("id"), Sum("amount"), Avg("amount")).order_by("customer")
    months = Order.objects.annotate(month=TruncMonth("at")).order_by("month")
    return (
        list(totals),
        Order.objects.aggregate(Max("amount"), Min("id"), names=Count("customer", distinct=True)),
        [row["n"] for row in months.values("month").annotate(n=Count("id"))],
    )


@step
def queries():
    orders = Order.objects
    items = Item.objects.filter(order=OuterRef("pk"))
    ranked = orders.annotate(rank=Window(Rank(), order_by=F("amount").desc())).order_by("rank")
    return (
        sorted(orders.filter(customer__icontains="C1", amount__gte=3).values_list("id", flat=True)),
        orders.filter(nation__name="Perú").count(),
        orders.filter(Q(customer="c1") | Q(amount__in=[3, 5])).count(),
        orders.filter(at__lte=Now(), doc__a__0=1).count(),
        orders.annotate(up=Upper("customer")).filter(up="C3").values_list("up", flat=True).first(),
        orders.filter(Exists(items.filter(n=2))).count(),
        [order.word for order in orders.annotate(word=Subquery(items.values("word")[2:3]))[35:45]],
        [(order.pk, order.rank) for order in ranked[:4]],
        [(order.pk, order.items.count()) for order in orders.prefetch_related("items")[38:42]],
        Item.objects.select_related("order__nation").order_by("order", "n")[4].order.customer,
        list(orders.order_by("customer", "-amount").distinct("customer").values_list("pk")),
        sum(1 for _ in orders.iterator(chunk_size=7)),
        orders.values_list("customer").union(Nation.objects.values_list("name")).count(),
        orders.in_bulk([3, 5]).keys() == {3, 5},
    )


@step
def changes():
    added = Order.objects.filter(customer="c1").update(amount=F("amount") + 1, made=Now())
    one = Order.objects.filter(pk=3).update(amount=5)
    several = Order.objects.filter(customer="c2").delete()
    with_items = Order.objects.get(pk=6).delete()
    return added, one, several, with_items, Order.objects.count(), Item.objects.count()


@step
def transactions():
    with transaction.atomic():
        Order.objects.create(customer="x", amount=1)
        try:
            with transaction.atomic():
                Nation.objects.create(name="Mali")
        except IntegrityError as error:
            told = type(error.__cause__).__name__
        Order.objects.create(customer="y", amount=1)
    try:
        with transaction.atomic():
            Order.objects.filter(customer__in="xy").delete()
            raise KeyError
    except KeyError:
        pass
    with transaction.atomic():
        locked = Order.objects.select_for_update().get(pk=5).amount
        skipping = Order.objects.select_for_update(skip_locked=True)
        return told, locked, len(skipping.filter(customer__in="xy"))


@step
def admin():
    user = User.objects.create_superuser("root", "a@b.example", "word")
    group = Group.objects.create(name="group")
    group.permissions.add(*Permission.objects.order_by("id")[:3])
    user.groups.add(group)
    LogEntry.objects.create(user=user, action_flag=1, object_repr="x")
    until = dt.datetime(2040, 1, 1, tzinfo=dt.timezone.utc)
    Session.objects.create(session_key="k", session_data="d", expire_date=until)
    collected = NestedObjects(using="default")
    collected.collect(Order.objects.filter(customer="c3"))
    log = LogEntry.objects.select_related("user").order_by("-action_time")
    found = User.objects.filter(groups__permissions__in=group.permissions.all()).distinct()
    return (
        len(user.get_all_permissions()), len(collected.nested()) > 0, found.count(),
        list(log.values_list("user__username", flat=True)),
        Session.objects.filter(expire_date__gt=Now()).count(),
        Permission.objects.count(),
    )  # fmt: skip


@step
def schema():
    extra = models.IntegerField(default=3)
    extra.set_attributes_from_name("extra")
    with connection.schema_editor() as editor:
        editor.add_field(Order, extra)
        editor.add_index(Order, models.Index(fields=["amount"], name="by_amount"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(extra) FROM shop_order WHERE customer = %s", ["c3"])
        total = cursor.fetchone()
    with connection.schema_editor() as editor:
        editor.remove_field(Order, extra)
    return total, connection.is_usable()


for each in STEPS:
    sys.stdout.write(json.dumps([each.__name__, each()], default=str) + "\n")
shards = getattr(connection.connection, "shards", ())
sys.stdout.write(json.dumps(["shards", len(shards)]) + "\n")
