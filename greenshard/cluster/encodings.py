"""The bytes that a database makes of a text: PostgreSQL's encodings, and Python's codecs for them.

Keys are hashed by these bytes. A codec is only named where it writes each character as PostgreSQL
does, and no others; in all encodings of a database ASCII is as in ASCII, so the others have that
codec, and a key with other letters is one whose shard is not known.

Source: PostgreSQL manual, 24.3 "Character Set Support"; compared with the servers' own conversions
in tests/postgres/cluster/test_encodings.py.
"""

from __future__ import annotations

from collections.abc import Mapping

_LATIN = {1: 1, 2: 2, 3: 3, 4: 4, 5: 9, 6: 10, 7: 13, 8: 14, 9: 15, 10: 16}

#: By ``pg_encoding_to_char``.
CODECS: Mapping[str, str] = {
    "UTF8": "utf-8",
    "EUC_CN": "euc_cn",
    "KOI8R": "koi8_r",
    "KOI8U": "koi8_u",
    "WIN866": "cp866",
    "WIN874": "cp874",
    **{f"LATIN{number}": f"iso8859_{part}" for number, part in _LATIN.items()},
    **{f"ISO_8859_{part}": f"iso8859_{part}" for part in range(5, 9)},
    **{f"WIN125{number}": f"cp125{number}" for number in range(9)},
}

#: psycopg2's codecs of client encodings of which some letters are others to PostgreSQL: what is
#: stored is not the text that was given.
INEXACT = frozenset(
    {"big5", "cp932", "cp950", "euc_jis_2004", "euc_jp", "euc_kr", "shift_jis_2004"}
)


def codec_of(encoding: str) -> str:
    """Python's codec for the texts of a database.

    Args:
        encoding: As ``pg_encoding_to_char`` gives it.

    >>> codec_of("LATIN9"), codec_of("SQL_ASCII")
    ('iso8859_15', 'ascii')
    """
    # EUC_JP, SQL_ASCII, ...: Python's codec writes some letters otherwise, or there is none. ASCII
    # is the same in all of them.
    return CODECS.get(encoding, "ascii")
