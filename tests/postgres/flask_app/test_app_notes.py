"""The form of the example application: what is committed, and what is rolled back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.postgres.flask_app.conftest import Site

SHARD = "s1"
HOSTILE = """<script>alert("x")</script> & 'so on'"""


@pytest.fixture
def tailnum(site: Site) -> str:
    return site.tailnum_on(SHARD)


def kept(site: Site, tailnum: str) -> tuple[list[str], int]:
    """The notes about an aircraft, and how many the count says, on the aircraft's shard."""
    notes = site.rows(SHARD, "SELECT text FROM notes WHERE tailnum = %s ORDER BY written", tailnum)
    count = site.rows(SHARD, "SELECT sum(notes) FROM watched WHERE tailnum = %s", tailnum)
    return [text for (text,) in notes], int(count[0][0] or 0)


def write(client: Any, tailnum: str, text: str, **options: Any) -> Any:
    return client.post(f"/aircraft/{tailnum}/notes", data={"text": text}, **options)


def test_note_is_committed_with_its_count_on_the_shard_of_its_aircraft(
    client: Any, healthy: Site, tailnum: str
) -> None:
    response = write(client, tailnum, "  a first note ")
    assert response.status_code == 303
    assert kept(healthy, tailnum) == (["a first note"], 1)
    for other in {"s0", "s1", "s2"} - {SHARD}:
        assert healthy.rows(other, "SELECT * FROM notes") == []
    page = client.get(response.location).text
    assert "a first note" in page
    assert f"committed together on shard {SHARD}" in page
    assert "a first note" in client.get("/").text


def test_note_is_shown_as_it_was_written(client: Any, tailnum: str) -> None:
    assert write(client, tailnum, HOSTILE).status_code == 303
    for path in (f"/aircraft/{tailnum}", "/"):
        page = client.get(path).text
        assert "&lt;script&gt;alert" in page
        assert "<script>alert" not in page


@pytest.mark.parametrize("text", ["", "   ", "\0", "x" * 281])
def test_note_of_a_wrong_length_is_not_saved(
    client: Any, healthy: Site, tailnum: str, text: str
) -> None:
    response = write(client, tailnum, text)
    assert response.status_code == 422
    assert "a note has 1 to 280 characters" in response.text
    assert kept(healthy, tailnum) == ([], 0)


def test_sixth_note_is_rolled_back_when_the_count_refuses_it(
    client: Any, healthy: Site, tailnum: str
) -> None:
    texts = [f"note {number}" for number in range(6)]
    answers = [write(client, tailnum, text).status_code for text in texts]
    assert answers == [303] * 5 + [422]
    assert kept(healthy, tailnum) == (texts[:5], 5)


def test_what_was_written_is_still_in_the_form_after_a_refusal(client: Any, tailnum: str) -> None:
    text = "<b>" + "x" * 300
    assert f"&lt;b&gt;{text[3:]}</textarea>" in write(client, tailnum, text).text


def test_removed_note_is_no_longer_counted(client: Any, healthy: Site, tailnum: str) -> None:
    write(client, tailnum, "stays")
    write(client, tailnum, "goes")
    ((note,),) = healthy.rows(SHARD, "SELECT id FROM notes WHERE text = 'goes'")
    for _ in range(2):  # whoever is second finds it gone, and that is fine
        response = client.post(f"/aircraft/{tailnum}/notes/{note}/remove")
        assert response.status_code == 303
        assert kept(healthy, tailnum) == (["stays"], 1)


def test_form_of_another_site_is_refused(client: Any, healthy: Site, tailnum: str) -> None:
    response = write(client, tailnum, "x", headers={"Origin": "https://evil.example"})
    assert response.status_code == 403
    assert kept(healthy, tailnum) == ([], 0)
    own = {"Origin": "http://localhost"}
    assert write(client, tailnum, "x", headers=own).status_code == 303


@pytest.mark.parametrize("sent_from", ["cross-site", "same-site", "", "nonsense"])
@pytest.mark.parametrize("origin", [{}, {"Origin": "http://localhost"}], ids=["no origin", "own"])
def test_form_of_another_site_without_its_origin_is_refused(
    client: Any, healthy: Site, tailnum: str, sent_from: str, origin: dict[str, str]
) -> None:
    headers = {**origin, "Sec-Fetch-Site": sent_from}
    assert write(client, tailnum, "x", headers=headers).status_code == 403
    assert client.delete(f"/aircraft/{tailnum}/notes", headers=headers).status_code in {403, 405}
    assert kept(healthy, tailnum) == ([], 0)


@pytest.mark.parametrize("sent_from", ["same-origin", "none"])
def test_form_of_this_site_is_taken(client: Any, tailnum: str, sent_from: str) -> None:
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": sent_from}
    assert write(client, tailnum, "x", headers=own).status_code == 303


def test_form_that_is_too_long_is_refused(client: Any, healthy: Site, tailnum: str) -> None:
    response = write(client, tailnum, "x" * 70_000)
    assert response.status_code == 413
    assert kept(healthy, tailnum) == ([], 0)


@pytest.mark.parametrize("path", ["/aircraft/N1/notes", "/aircraft/N1/notes/1/remove"])
def test_notes_are_written_by_forms_only(client: Any, path: str) -> None:
    assert client.get(path).status_code in {404, 405}


def test_note_about_an_aircraft_that_there_is_not_is_refused(client: Any, healthy: Site) -> None:
    assert write(client, "N0", "x").status_code == 404
    for shard in ("s0", "s1", "s2"):
        assert healthy.rows(shard, "SELECT * FROM notes") == []
