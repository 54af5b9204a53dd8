"""TPC-H and TPC-DS: their tables, their rows, and their queries.

``benchmarks/tpch.py`` and ``benchmarks/tpcds.py`` measure with them, ``tests/postgres/tpc``
compares answers.
"""

from .dataset import Dataset, Query
from .tpcds import TPC_DS
from .tpch import TPC_H

__all__ = ["DATASETS", "TPC_DS", "TPC_H", "Dataset", "Query"]

#: By their names.
DATASETS = {dataset.name: dataset for dataset in (TPC_H, TPC_DS)}
