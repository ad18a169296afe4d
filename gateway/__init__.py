"""What the outside talks to: gRPC here, HTTP beside it. Neither keeps anything; the store does.

grpc_server.py   the gRPC process: its start, its life and its end
calls.py         how a call is taken: admitted, parsed, run, answered
status.py        the face of an error towards gRPC
compat.py        the two older interfaces, word for word
publisher.py     hark.v1: posts in
graph.py         hark.v1: who follows whom
inbox.py         hark.v1: notifications out
operations.py    hark.v1: for those who run it
values.py        ids, times and durations between protobuf and Hark
pb/              generated from proto/
"""
