"""Hark tells every follower when someone posts. This package is what delivers.

    gateway (gRPC)  --writes-->  store (the one writer)  <--writes--  web (GraphQL, /metrics)
         \\--reads--> reader (x R, read-only) <--reads--/
                     store  <-- "lease me work" --  worker (x N)
                     store  <-- "this is what came of it" --  worker
                     store  -- "this concerns people online there" -->  gateway, web

Every process owns its memory and speaks msgpack over ZeroMQ (`wire.py`, `sockets.py`). The store
and its readers are the only ones that open the database. `supervisor.py`, beside this package,
starts all of them and keeps them running.

A notification is never a row. It is a member of exactly one set of user numbers (`audience.py`),
and delivering moves members from one set to another (`lifecycle.py`).

Read in this order: `supervisor.py`, `gateway/compat.py`, `farm/client.py`, `farm/store/writer.py`,
`intake.py`, `dispatch.py`, `farm/worker.py`, `farm/channels/`.
"""

__version__ = "0.1.0"
