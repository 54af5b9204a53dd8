"""The pages of the example application."""

from __future__ import annotations

import doctest
import html
import re
from collections import Counter
from typing import Any

import pytest

from tests.postgres.flask_app.conftest import Site

CARRIER, TAILNUM, ORIGIN, DEST = 9, 11, 12, 13
HOSTILE = "<script>alert('x')</script>"


def strategies(page: str) -> list[str]:
    return re.findall(r'<span class="chip">(\w+)</span>', page)


def text_of(page: str) -> str:
    """A page without its tags, and with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@pytest.fixture
def tailnum(site: Site) -> str:
    """The aircraft with the most flights."""
    counts = Counter(row[TAILNUM] for row in site.flights if row[TAILNUM] != "NA")
    return counts.most_common(1)[0][0]


def test_overview_says_what_the_file_of_flights_says(client: Any, site: Site) -> None:
    page = text_of(client.get("/").text)
    aircraft = {row[TAILNUM] for row in site.flights} - {"NA"}
    assert f"flights {len(site.flights):,} " in page
    assert f"aircraft {len(aircraft):,} " in page
    routes = Counter((row[ORIGIN], row[DEST]) for row in site.flights)
    (origin, dest), count = max(routes.items(), key=lambda item: item[1])
    assert re.search(rf"{origin} to → {dest} \D+ {count} ", page)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", ["combine", "combine", "merge", "merge"]),
        ("/delays", ["combine", "combine", "combine", "merge"]),
        ("/airports/ATL", ["reference", "gather", "combine", "merge"]),
        ("/search?q=N7", ["merge", "reference"]),
    ],
)
def test_each_answer_shows_how_it_came_about(client: Any, path: str, expected: list[str]) -> None:
    response = client.get(path)
    assert response.status_code == 200
    assert strategies(response.text) == expected


def test_page_of_an_aircraft_asks_the_shard_that_has_it_and_no_other(
    client: Any, site: Site, tailnum: str
) -> None:
    page = client.get(f"/aircraft/{tailnum}").text
    assert strategies(page) == ["route"] * 4
    asked = re.findall(r'<th scope="row">(s\d)</th>\s*<td class="n">', page)
    assert asked == [site.shard_of(tailnum)] * 4
    count = sum(row[TAILNUM] == tailnum for row in site.flights)
    assert f"flights {count} " in text_of(page)


def test_airport_without_flights_has_a_page(client: Any, site: Site) -> None:
    assert not any(row[DEST] == "JFK" for row in site.flights)
    response = client.get("/airports/JFK")
    assert response.status_code == 200
    assert "No flight of 2013" in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/aircraft/N0",
        "/airports/ZZZ",
        "/airports/jfk",
        "/aircraft/N1%00",
        "/aircraft/a%27b",
        "/nothing",
        "/api/nothing",
        "/api/airports/ZZZ/airlines",
    ],
)
def test_what_there_is_not_is_not_found(client: Any, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.is_json is path.startswith("/api/")


@pytest.mark.parametrize(
    ("text", "place"),
    [("lax", "/airports/LAX"), (" LAX ", "/airports/LAX"), ("", "/"), ("\0", "/")],
)
def test_search_for_a_name_leads_to_its_page(client: Any, text: str, place: str) -> None:
    response = client.get("/search", query_string={"q": text})
    assert (response.status_code, response.location) == (302, place)


def test_search_for_a_tail_number_leads_to_the_aircraft(client: Any, tailnum: str) -> None:
    response = client.get("/search", query_string={"q": tailnum.lower()})
    assert (response.status_code, response.location) == (302, f"/aircraft/{tailnum}")


def test_search_for_a_part_lists_what_has_it(client: Any, tailnum: str) -> None:
    page = client.get("/search", query_string={"q": tailnum[:4]}).text
    assert f'href="/aircraft/{tailnum}"' in page
    page = client.get("/search", query_string={"q": "HONOLULU"}).text
    assert 'href="/airports/HNL"' in page


@pytest.mark.parametrize("text", [HOSTILE, "%", "_", "'; DROP TABLE flights; --", "x" * 5000])
def test_search_takes_any_text_as_text(client: Any, text: str) -> None:
    response = client.get("/search", query_string={"q": text})
    assert response.status_code == 200
    assert "Nothing is called that" in response.text
    assert "<script>" not in response.text


def test_pages_let_nothing_of_other_sites_in(client: Any) -> None:
    response = client.get("/status")
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', response.text)
    assert " style=" not in response.text


def test_status_has_a_picture_for_each_shard(client: Any, site: Site) -> None:
    client.get("/")
    page = client.get("/status").text
    assert "All 3 shards answer" in page
    pictures = re.findall(r'<svg class="latencies".*?</svg>', page, re.DOTALL)
    assert len(pictures) == len(site.shards)
    for picture, shard in zip(pictures, site.shards, strict=True):
        assert f'aria-label="{shard.name}: ' in picture
        heights = re.findall(r'<rect class="bucket"[^>]* height="([\d.]+)"', picture)
        assert any(float(height) > 0 for height in heights)


def test_api_gives_rows_and_how_they_came_about(client: Any, site: Site, tailnum: str) -> None:
    totals = client.get("/api/totals").get_json()
    assert totals["rows"][0]["flights"] == len(site.flights)
    assert totals["how"]["strategy"] == "combine"
    assert sorted(totals["how"]["seconds"]) == ["s0", "s1", "s2"]
    months = client.get(f"/api/aircraft/{tailnum}/months").get_json()
    assert list(months["how"]["seconds"]) == [site.shard_of(tailnum)]
    assert len(months["rows"]) == 12
    airlines = client.get("/api/airports/ATL/airlines").get_json()["rows"]
    expected = Counter(row[CARRIER] for row in site.flights if row[DEST] == "ATL")
    assert {row["carrier"]: row["flights"] for row in airlines} == expected
    assert len(client.get("/api/routes").get_json()["rows"]) == 8
    assert client.get("/api/delays/hours").get_json()["rows"][0]["hour"] == 5


def test_api_tells_the_pool_and_the_shards(client: Any) -> None:
    status = client.get("/api/status").get_json()
    assert status["pool"]["taken"] == 0
    assert {name: shard["up"] for name, shard in status["shards"].items()} == {
        "s0": True,
        "s1": True,
        "s2": True,
    }


@pytest.mark.usefixtures("site")
def test_words_and_pictures_are_as_their_examples_say() -> None:
    from flask_app import pictures, words

    for module in (words, pictures):
        results = doctest.testmod(module)
        assert (results.failed, results.attempted > 0) == (0, True)
    assert words.delay(-4.2) == "\N{MINUS SIGN}4"
    assert words.delay(None) == words.duration(None) == words.percent(None) == "\N{EN DASH}"
