"""The log's Merkle tree, its signed checkpoints, and the proofs that follow from them.

The core knows no database, no storage and no clock, and may be read from here down:

- `tree`: hashes, the root of a stream of leaves, and whether a proof holds (RFC 6962, 9162).
- `proof`: which nodes make up an inclusion or a consistency proof.
- `tiles`: where nodes lie in tiles, and how tiles are named (C2SP tlog-tiles).
- `note`: texts signed by Ed25519 keys (C2SP signed-note).
- `checkpoint`: the size and root of the tree, as a note (C2SP tlog-checkpoint).
- `leaf`: what of an event is a leaf.
- `digests`: what a row of the log and its attachments must be by their digests.
- `alignment`, `tree_check`: the log beside what was sealed, and that beside what was signed.
- `model_check`: a row of the read models beside its stream.
- `naming`, `naming_contents`: what was done, from what differs, as `defect`s.

Around it: `tile_store` keeps tiles through storage, `records` what was signed in the database; `evidence`
reads what whoever verifies needs.
"""
