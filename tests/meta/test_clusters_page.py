"""The declarations on the page about clusters are ones."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from greenshard.cluster import Cluster, Hash, List, Range, Unknown
from tests.meta.pages import ROOT

PAGE = (ROOT / "docs" / "clusters.rst").read_text(encoding="utf-8")
BLOCKS = [
    textwrap.dedent(block) for block in re.findall(r"code-block:: toml\n\n((?: +.*\n|\n)+)", PAGE)
]
SHARDS = '[shards]\ns0 = "dbname=a"\ns1 = "dbname=b"\ns2 = "dbname=c"\n'


@pytest.mark.parametrize("block", BLOCKS)
def test_each_declaration_can_be_read(block: str, tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(block if "[shards]" in block else f"{SHARDS}{block}")
    cluster = Cluster.from_toml(path)
    assert cluster.tables or cluster.functions or cluster.placement != Hash()


def test_each_method_is_shown() -> None:
    shown = set(re.findall(r'method = "(\w+)"', PAGE))
    assert shown == {kind.__name__.lower() for kind in (List, Range, Unknown)}
