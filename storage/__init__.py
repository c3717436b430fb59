"""Contents of files, streamed, behind one port (`storage.store`).

Promises: what was put is on durable ground before `put` returns, under a fresh key and with its digest;
what is read comes by byte range, never whole in memory. Knows nothing of batches, events or HTTP, and
imports none of the other rooms.
"""
