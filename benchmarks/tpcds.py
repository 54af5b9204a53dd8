"""TPC-DS over four shards beside one server with every row: the 99 queries, their strategies.

    make bench-tpcds                         scale 0.05
    make bench-tpcds ARGS="--quick"          a quick look
    make bench-tpcds ARGS="--query 9 --query 18"
    make bench-tpcds ARGS="--json > tpcds.json"

README.rst beside this file says what is measured, and how to read it.
"""

from __future__ import annotations

from tpc import command
from tpc_data import TPC_DS

if __name__ == "__main__":
    command(TPC_DS, 0.05, {"all": TPC_DS.queries()})()
