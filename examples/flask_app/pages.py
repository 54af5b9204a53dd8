"""The pages."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, abort, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

import greenshard
from flask_app import queries, words
from flask_app.database import ask, db

pages = Blueprint("pages", __name__)

MOST_TEXT = 100


@pages.get("/")
def overview() -> ResponseReturnValue:
    return render_template(
        "overview.html",
        totals=ask(queries.TOTALS),
        routes=ask(queries.BUSIEST_ROUTES),
        aircraft=ask(queries.BUSIEST_AIRCRAFT),
        notes=ask(queries.RECENT_NOTES),
    )


@pages.get("/delays")
def delays() -> ResponseReturnValue:
    return render_template(
        "delays.html",
        hours=ask(queries.DELAY_BY_HOUR),
        airlines=ask(queries.DELAY_BY_AIRLINE),
        visibility=ask(queries.DELAY_BY_VISIBILITY),
        steps=words.VISIBILITY,
        latest=ask(queries.LATEST_ARRIVALS),
    )


@pages.get("/search")
def search() -> ResponseReturnValue:
    text = written("q", request.args)[:MOST_TEXT]
    code = text.upper()
    if not text:
        return redirect(url_for(".overview"))
    if ask(queries.AIRPORT, faa=code).rows:
        return redirect(url_for(".airport", faa=code))
    aircraft = ask(queries.AIRCRAFT_NAMED, text=code)
    if [row["tailnum"] for row in aircraft.rows] == [code]:
        return redirect(url_for(".aircraft", tailnum=code))
    airports = ask(queries.AIRPORTS_NAMED, text=text)
    return render_template("search.html", text=text, aircraft=aircraft, airports=airports)


@pages.get("/airports/<code:faa>")
def airport(faa: str) -> ResponseReturnValue:
    found = ask(queries.AIRPORT, faa=faa)
    if not found.rows:
        abort(404, f"There is no airport {faa}.")
    return render_template(
        "airport.html",
        airport=found,
        delays=ask(queries.DELAYS_AT, faa=faa),
        airlines=ask(queries.AIRLINES_AT, faa=faa),
        worst=ask(queries.WORST_ARRIVALS_AT, faa=faa),
    )


@pages.get("/aircraft/<code:tailnum>")
def aircraft(tailnum: str) -> ResponseReturnValue:
    return aircraft_page(tailnum, saved=request.args.get("saved"))


def aircraft_page(tailnum: str, **message: str | None) -> str:
    """The page of an aircraft: often asked for, so it must never reach more than one shard."""
    db.connection.allow_scatter = False
    require_aircraft(tailnum)
    return render_template(
        "aircraft.html",
        tailnum=tailnum,
        summary=ask(queries.AIRCRAFT, tailnum=tailnum),
        months=ask(queries.AIRCRAFT_MONTHS, tailnum=tailnum),
        month_names=words.MONTHS,
        flights=ask(queries.AIRCRAFT_FLIGHTS, tailnum=tailnum),
        notes_answer=ask(queries.NOTES, tailnum=tailnum),
        **message,
    )


@pages.post("/aircraft/<code:tailnum>/notes")
def add_note(tailnum: str) -> ResponseReturnValue:
    """Write a note, and count it, in one transaction on the shard of the aircraft.

    The database has the rules: how long a note may be, and how many an aircraft may have. If the
    count breaks its rule, the rollback takes back the note too, although it was written already.
    Otherwise both are committed before the response leaves.
    """
    require_aircraft(tailnum)
    text = written("text", request.form)
    try:
        note = ask(queries.ADD_NOTE, tailnum=tailnum, text=text)
        ask(queries.COUNT_NOTE, tailnum=tailnum)
    except greenshard.IntegrityError as error:
        db.connection.rollback()
        return aircraft_page(tailnum, refused=error.diag.constraint_name, text=text), 422
    return redirect(
        url_for(".aircraft", tailnum=tailnum, saved=note.row["id"], _anchor="notes"), 303
    )


@pages.post("/aircraft/<code:tailnum>/notes/<uuid:note>/remove")
def remove_note(tailnum: str, note: UUID) -> ResponseReturnValue:
    if ask(queries.REMOVE_NOTE, tailnum=tailnum, id=str(note)).rows:
        ask(queries.UNCOUNT_NOTE, tailnum=tailnum)
    return redirect(url_for(".aircraft", tailnum=tailnum, _anchor="notes"), 303)


def require_aircraft(tailnum: str) -> None:
    if not ask(queries.AIRCRAFT_EXISTS, tailnum=tailnum).rows:
        abort(404, f"No aircraft {tailnum} left New York in 2013.")


def written(field: str, form: MultiDict[str, str]) -> str:
    """What somebody wrote into a field. PostgreSQL's texts have no character 0."""
    return form.get(field, "").replace("\0", "").strip()
