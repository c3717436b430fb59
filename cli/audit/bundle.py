"""`batchmill audit export`, `check`: evidence of a batch in one file, and whether it holds."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from cli.exit_codes import ExitCode
from cli.parameters import Config, Json, Output, duration
from cli.settings_sources import load
from cli.tables import printable
from cli.whole_file import output_of
from events.errors import SettingsError

if TYPE_CHECKING:
    from events.audit.bundle.check import Bundle
    from events.audit.bundle.export import BundleExport, Sealed
    from events.audit.note import PublicKey
    from events.audit.proofs import ConsistencyProof
    from events.audit.records import Signed
    from events.file import FileCreated

LOOK: Final = 0.2
"""Seconds between two looks at a batch that is waited for."""

Bodies = Annotated[
    bool, Parameter(negative="", show_default=False, help="With the results themselves, compressed.")
]
Wait = Annotated[
    float,
    Parameter(
        converter=duration,
        show_default=False,
        help="So long for the batch to end and to be sealed, such as 30s.",
    ),
]
Given = Annotated[Path | None, Parameter(help="As it was downloaded: each line is compared.")]


class NamedFile(msgspec.Struct, frozen=True):
    """A file that a bundle names."""

    sha256: str
    size: int


class Proven(msgspec.Struct, frozen=True):
    """What `audit check --json` prints of a bundle that holds; `unrun` lines ended without an outcome, and
    `erased` counts attachments that are gone."""

    batch_id: str
    project_id: str
    status: str
    completed: int
    failed: int
    unrun: int
    events: int
    erased: int
    input: NamedFile | None
    output: NamedFile | None
    errors: NamedFile | None
    origin: str
    size: int
    root: str
    signed_by: tuple[str, ...]
    proven: bool = True


class NotProven(msgspec.Struct, frozen=True):
    """What it prints of one that does not: the `part` that is wrong, and the sentence that says so."""

    part: str
    problem: str
    proven: bool = False


def export(
    *,
    batch: Annotated[str, Parameter(help="The batch, which has ended.")],
    bodies: Bodies = False,
    output: Output = None,
    wait: Wait = 0.0,
    config: Config = None,
) -> None:
    """Write a batch's evidence to one file, which `audit check` checks offline.

    Its events and those of its files, what proves that they are under the first
    checkpoint that covers its end, and the digest of each result. The same
    batch gives the same file, until results are erased.

    $ batchmill audit export --batch batch_0123456789abcdef -o evidence
    $ batchmill audit export --batch batch_0123456789abcdef --bodies --wait 30s -o evidence
    """
    asyncio.run(_export(batch, output, wait, config, bodies=bodies))


def check(
    bundle: Annotated[Path, Parameter(help="What `audit export` has written.")],
    *,
    key: Annotated[list[str], Parameter(help="A public key of who ran the batch, or a file of such.")],
    checkpoint: Annotated[
        Path | None, Parameter(help="A file of checkpoints that you, or a witness, have kept.")
    ] = None,
    consistency: Annotated[
        Path | None, Parameter(help="What `audit consistency` printed, if the kept one has another size.")
    ] = None,
    output: Given = None,
    errors: Given = None,
    json: Json = False,
) -> int:
    """Check a bundle of evidence: offline, with neither server nor database.

    Every byte of it, the signature, the tree, each event, and with --output and
    --errors each line of the batch's result files. What is wrong first is told
    in a sentence that names the part. Exit code 6 where something is wrong.

    $ batchmill audit check evidence --key mill.pub
    $ batchmill audit check evidence --key mill.pub --output out.jsonl --errors err.jsonl
    $ batchmill audit check evidence --key mill.pub --checkpoint kept-2026-11-26
    """
    from cli.audit.parts import public_keys
    from events.audit.bundle.parts import BundleFlaw

    keys = public_keys(key)
    try:
        proven = _checked(bundle, keys, output, errors)
        if checkpoint is not None:
            _compare(proven, checkpoint, consistency, keys)
    except BundleFlaw as flaw:
        if json:
            print(msgspec.json.encode(NotProven(flaw.part, str(flaw))).decode())
        else:
            print(f"Not proven: {printable(str(flaw))}.")
        return ExitCode.DEFECTS
    if json:
        print(msgspec.json.encode(_shown(proven)).decode())
    else:
        _print(proven, (("output", output), ("error", errors)), checkpoint)
    return ExitCode.OK


async def _export(
    batch_id: str, output: Path | None, wait: float, config: Path | None, *, bodies: bool
) -> None:
    from cli.database import open_records
    from cli.encryption_parts import open_contents
    from cli.storage import open_storage
    from events.audit.bundle.export import BundleExport

    settings = load(environ=os.environ, config=config).settings
    async with open_storage(settings) as store, open_records(settings) as (database, _):
        exporting = BundleExport(database, *await open_contents(settings, database, store))
        sealed = await _sealed(exporting, batch_id, wait)
        with output_of(output) as target:
            async for piece in exporting.pieces(sealed, "bodies" if bodies else "digests"):
                await asyncio.to_thread(target.write, piece)


async def _sealed(exporting: "BundleExport", batch_id: str, wait: float) -> "Sealed":
    """What there is to export, waited for. Raises as `BundleExport.sealed`."""
    from events.audit.bundle.export import NotSealedYet, StillRuns

    until = time.monotonic() + wait
    while True:
        try:
            return await exporting.sealed(batch_id)
        except (StillRuns, NotSealedYet):
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(LOOK)


def _checked(bundle: Path, keys: "Sequence[PublicKey]", output: Path | None, errors: Path | None) -> "Bundle":
    """What the bundle proves, beside these files. Raises `BundleFlaw`."""
    from events.audit.bundle.check import check_bundle
    from events.audit.bundle.outcomes import Outcomes
    from events.audit.bundle.result_files import require_result_file

    with tempfile.TemporaryFile() as spool:
        outcomes = Outcomes(None if output is None and errors is None else spool)
        with _reading(bundle) as source:
            proven = check_bundle(source, keys, outcomes)
        if output is not None:
            with _reading(output) as source:
                require_result_file(source, "output", proven.output, outcomes, proven.status)
        if errors is not None:
            with _reading(errors) as source:
                require_result_file(source, "errors", proven.errors, outcomes, proven.status)
    return proven


def _compare(proven: "Bundle", kept: Path, consistency: Path | None, keys: "Sequence[PublicKey]") -> None:
    """Holds a bundle's checkpoint against those that were kept: one of its size, or else the last. Raises
    `BundleFlaw`."""
    from cli.audit.witness import kept_in
    from events.audit.bundle.kept import ProofWanted, require_kept

    notes = kept_in(kept)
    same = [signed for signed in notes if signed.checkpoint.size == proven.signed.checkpoint.size]
    one: Signed = (same or notes)[-1]
    try:
        require_kept(proven.signed, one, keys, None if consistency is None else _proof(consistency))
    except ProofWanted as wanted:
        raise SettingsError(
            f"the bundle's checkpoint is of size {proven.signed.checkpoint.size} and the kept one of "
            f"{one.checkpoint.size}: give --consistency, the output of `batchmill audit consistency --from "
            f"{wanted.old_size} --to {wanted.size}`"
        ) from wanted


def _proof(file: Path) -> "ConsistencyProof":
    from events.audit.proofs import ConsistencyProof

    try:
        return msgspec.json.decode(file.read_bytes(), type=ConsistencyProof)
    except (OSError, msgspec.MsgspecError) as error:
        raise SettingsError(f"{file} has no proof of consistency: {error}") from error


@contextmanager
def _reading(file: Path) -> Iterator[IO[bytes]]:
    try:
        with file.open("rb") as source:
            yield source
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror or error}") from error


def _shown(proven: "Bundle") -> Proven:
    def named(file: "FileCreated | None") -> NamedFile | None:
        return None if file is None else NamedFile(file.sha256, file.size)

    checkpoint = proven.signed.checkpoint
    return Proven(
        batch_id=proven.batch_id,
        project_id=proven.project_id,
        status=proven.status,
        completed=proven.completed,
        failed=proven.failed,
        unrun=proven.unrun,
        events=proven.events,
        erased=proven.erased,
        input=named(proven.input),
        output=named(proven.output),
        errors=named(proven.errors),
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        signed_by=proven.signed_by,
    )


def _print(proven: "Bundle", files: Sequence[tuple[str, Path | None]], kept: Path | None) -> None:
    size = proven.signed.checkpoint.size
    print(
        f"Proven: {proven.batch_id} of project {printable(proven.project_id)} is {proven.status}; "
        f"{proven.completed:,} lines completed, {proven.failed:,} failed, {proven.unrun:,} never ran."
    )
    print(f"{proven.events:,} events lie under the checkpoint of size {size:,}, signed by:")
    for key in proven.signed_by:
        print(f"  {printable(key)}")
    if kept is not None:
        print(f"The checkpoint is of one history with the one in {printable(str(kept))}.")
    for name, given in files:
        if given is not None:
            print(f"{printable(str(given))} is its {name} file, line by line.")
    for name, file in (("input", proven.input), ("output", proven.output), ("error", proven.errors)):
        if file is not None:
            print(f"SHA-256 of its {name} file: {file.sha256}")
    if proven.erased:
        print(f"{proven.erased:,} attachments are erased: of their lines the outcomes are proven, no texts.")
