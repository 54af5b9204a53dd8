"""How numbers and times are written on the pages; Jinja's filters."""

from __future__ import annotations

MINUS, NOTHING = "\N{MINUS SIGN}", "\N{EN DASH}"

#: Of `queries.DELAY_BY_VISIBILITY`, by step.
VISIBILITY = ("under 1 mile", "1 to 3 miles", "3 to 6 miles", "6 to 10 miles", "10 miles")

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def number(value: float) -> str:
    """Write a whole number.

    >>> number(336776)
    '336,776'
    """
    return f"{value:,.0f}"


def delay(minutes: float | None) -> str:
    """Write a delay in minutes.

    >>> delay(15.8), delay(0)
    ('+16', '0')
    """
    if minutes is None:
        return NOTHING
    return f"{round(minutes):+d}".replace("-", MINUS) if round(minutes) else "0"


def hours(minutes: int) -> str:
    """Write a long delay.

    >>> hours(1272)
    '21:12 h'
    """
    return f"{minutes // 60}:{minutes % 60:02} h"


def millions(value: float) -> str:
    """Write how many millions there are.

    >>> millions(350_217_607)
    '350'
    """
    return f"{value / 1e6:,.0f}"


def clock(time: int) -> str:
    """Write a time of day, which the flights have as a number.

    >>> clock(515)
    '05:15'
    """
    return f"{time // 100:02}:{time % 100:02}"


def percent(part: float | None) -> str:
    """Write a part of the whole.

    >>> percent(0.236)
    '24 %'
    """
    return NOTHING if part is None else f"{part:.0%}".replace("%", " %")


def duration(seconds: float | None) -> str:
    """Write how long something took.

    >>> duration(0.0004), duration(0.0123), duration(0.25), duration(2.5)
    ('0.4 ms', '12.3 ms', '250 ms', '2.5 s')
    """
    if seconds is None:
        return NOTHING
    if seconds >= 1:
        return f"{seconds:,.1f} s"
    return f"{seconds * 1000:.{0 if seconds >= 0.1 else 1}f} ms"


def plural(count: int, word: str) -> str:
    """Write how many there are.

    >>> plural(1, "shard"), plural(4, "shard")
    ('1 shard', '4 shards')
    """
    return f"{number(count)} {word}" + ("" if count == 1 else "s")


FILTERS = {
    "number": number,
    "delay": delay,
    "hours": hours,
    "millions": millions,
    "clock": clock,
    "percent": percent,
    "duration": duration,
    "plural": plural,
}
