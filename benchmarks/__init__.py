"""Measures Hark: each figure beside the limit of the same work, taken in the same run.

`python -m benchmarks` starts the real farm by `supervisor.py` and drives it from processes of
their own. A row's figure is the median of several rounds, with the least and the most; its limit is
what the machine does when it does nothing but the necessary: the same rows in bare SQLite
transactions, a handler of the same gRPC messages that does nothing, the same random numbers.

Read in this order: `__main__.py` (the rows there are), `bench.py` (what a row is handed),
`figures.py` (what a row says), `publishing.py`, `delivering.py`, `keeping.py`, `reading.py` (the
rows), `farm.py` (the farm that is measured), `load.py` and `http_load.py` (what drives it),
`crowd.py` (who follows whom), `bare.py`, `bare_servers.py` (the limits), `report.py`.
"""
