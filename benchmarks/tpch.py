"""TPC-H over four shards beside one server with every row: the 22 queries, their strategies.

    make bench-tpch                          scale 0.1
    make bench-tpch ARGS="--quick"           a quick look
    make bench-tpch ARGS="--query 9 --query 18"
    make bench-tpch ARGS="--json > tpch.json"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

from tpc import command
from tpc_data import TPC_H

#: Citus 13.2 refuses these, as correlated subqueries that its planner cannot push down.
NOT_IN_CITUS = (17, 20, 22)

if __name__ == "__main__":
    queries = TPC_H.queries()
    in_citus = [query for query in queries if query.number not in NOT_IN_CITUS]
    command(TPC_H, 0.1, {"all": queries, "in Citus": in_citus})()
