"""Makes a PostgreSQL the coordinator: it reads the tables of all shards by foreign tables.

`blueprint` is what there is to be, `existing` what is there and what is in the way (both pure);
`looking` asks for it, as `greenshard check` does, and `setting_up` carries it out.
"""

from __future__ import annotations

from greenshard.coordinating.setting_up import Made, remove, set_up

__all__ = ["Made", "remove", "set_up"]
