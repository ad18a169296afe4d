"""Measures Hark: each figure beside the limit of the same work, taken in the same run.

`python -m benchmarks` starts the real farm by `supervisor.py` and drives it from processes of
their own. A row's figure is the median of several rounds, with the least and the most; its limit is
what the machine does when it does nothing but the necessary: the same rows in bare SQLite
transactions, a handler of the same gRPC messages that does nothing, the same random numbers.

Read in this order: `__main__.py` (the rows there are), `bench.py` (what a row is handed),
`figures.py` (what a row says), `calling.py`, `publishing.py`, `delivering.py`, `reading.py`,
`mixing.py`, `following.py`, `importing.py`, `watching.py`, `starting.py`, `keeping.py` (the rows),
`farm.py` (the farm that is measured), `crowd.py` and `million.py` (who is in it), `load.py`,
`h2load.py`, `wrk.py` (what drives it), `bare.py`, `bare_servers.py`, `paging.py` (the limits),
`report.py`.
"""
