"""What the outside talks to: gRPC here, HTTP beside it. Neither keeps anything; the store does.

grpc_server.py   the gRPC process: its start, its life and its end
calls.py         how a call is taken: admitted, parsed, run, answered
queue_delay.py   how long calls wait before that
heap.py          memory that was freed, given back
standard.py      health and reflection, from gRPC's own libraries
status.py        the face of an error towards gRPC
compat.py        the two older interfaces, word for word
publisher.py     hark.v1: posts in
graph.py         hark.v1: who follows whom
inbox.py         hark.v1: notifications out
operations.py    hark.v1: for those who run it
values.py        ids, times and durations between protobuf and Hark
pb/              generated from proto/

web.py           the HTTP process: its start, its life and its end
site.py          which path answers what, and from whom a browser may ask
graphql_http.py  GraphQL over HTTP: what a request asks, and the answer
unsent.py        large answers that wait to be read
graphql_ws.py    GraphQL over a WebSocket, as graphql-transport-ws
graphql_sse.py   GraphQL over server-sent events
running.py       runs what is asked over a connection that stays open
subscribed.py    a document that subscribes, understood once for all who send it
rendering.py     how an event is shown to subscribers, executed once for many
held.py          connections that stay open: heartbeats, and what waits, to be heard or sent
websocket.py     a WebSocket over a connection that Sanic accepted
compiled.py      a query becomes Python that writes its answer
schema.py        what can be asked; schema.graphql is the same as text
mutations.py     what can be changed
live.py          what can happen in an inbox, and the subscription to it
context.py       what resolvers ask
query_limits.py  how large a question may be
recent.py        what was used last, kept as far as there is room
nodes.py         the types of the answers
exposition.py    every metric, from the three places that know them
pages.py         what a browser shows, from the files in browser/ and graphiql/
refusals.py      the face of an error towards HTTP and GraphQL
"""
