"""`batchmill audit`: its commands."""

from cyclopts import App

from cli.audit.bundle import check, export
from cli.audit.keys import app as keys
from cli.audit.proofs import checkpoint, consistency, proof
from cli.audit.reads import reads
from cli.audit.replay import replay
from cli.audit.verify import verify

app = App(
    name="audit",
    help="""Prove what the log says: verification, keys, checkpoints, proofs.

    $ batchmill audit verify
    $ batchmill audit key show
    $ batchmill audit export --batch batch_0123456789abcdef -o evidence
    $ batchmill audit check evidence --key mill.pub
    """,
    help_format="plaintext",
)
for command in (keys, verify, export, check, consistency, reads, replay, checkpoint, proof):
    app.command(command)
