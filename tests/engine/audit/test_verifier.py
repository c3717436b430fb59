"""Whatever was done to a sealed log is found, once, and named; where nothing was done, nothing is."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from engine.audit.progress import Report
from tests.engine.audit.corruption import KINDS, Done, corrupt
from tests.engine.audit.sealed_log import SealedLog, copy_objects, make_sealed_log, verified
from tests.postgres import Database, PostgresServer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sealed_log(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SealedLog]:
    """Made once, never connected to again: what is corrupted is a copy."""
    async with postgres_server.new_database(migrated_template.name) as database:
        yield await make_sealed_log(database, tmp_path_factory.mktemp("sealed") / "objects")


async def found(
    kind: str, seed: int, sealed_log: SealedLog, server: PostgresServer, folder: Path
) -> tuple[Done, Report]:
    async with server.new_database(sealed_log.database.name) as database:
        objects = copy_objects(sealed_log.folder, folder)
        done = await corrupt(kind, database, objects, sealed_log.witnessed, Random(seed))
        report = await verified(database, objects, sealed_log.witnessed)
    shutil.rmtree(objects)
    return done, report


def wrongly(done: Done, report: Report) -> str:
    """What is wrong with a report; nothing for one that is right."""
    if len(report.defects) != 1:
        return f"{len(report.defects)} defects"
    [defect] = report.defects
    if defect.kind not in done.kinds:
        return f"called {defect.kind}"
    if done.positions and defect.position not in done.positions:
        return f"at position {defect.position}"
    if done.keys and not any((defect.key or "").startswith(key) for key in done.keys):
        return f"of {defect.key}"
    return ""


@pytest.mark.asyncio(loop_scope="session")
async def test_what_was_not_touched_is_clean(sealed_log: SealedLog, postgres_server: PostgresServer) -> None:
    async with postgres_server.new_database(sealed_log.database.name) as database:
        report = await verified(database, sealed_log.folder, sealed_log.witnessed)
    assert report.defects == []
    assert report.clean
    assert report.events == report.head == report.sealed
    assert min(report.attachments, report.erased, report.files, report.results, report.checkpoints) > 1


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("kind", KINDS)
async def test_each_corruption_is_found_and_named(
    kind: str, sealed_log: SealedLog, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    for seed in (1, 2):
        done, report = await found(kind, seed, sealed_log, postgres_server, tmp_path / "objects")
        assert not wrongly(done, report), (done, report.defects)


@pytest.mark.soak
@pytest.mark.asyncio(loop_scope="session")
async def test_three_hundred_corruptions_are_found_and_named(
    sealed_log: SealedLog,
    postgres_server: PostgresServer,
    tmp_path: Path,
    record_property: pytest.FixtureRequest,
) -> None:
    missed = []
    table = {kind: [0, 0] for kind in KINDS}
    for number in range(300):
        kind = list(KINDS)[number % len(KINDS)]
        done, report = await found(kind, 1000 + number, sealed_log, postgres_server, tmp_path / "objects")
        wrong = wrongly(done, report)
        table[kind][0] += bool(report.defects)
        table[kind][1] += not wrong
        if wrong:
            missed.append((number, kind, wrong, done, report.defects))
    rows = [f"{kind:26} {found:3} found {named:3} named" for kind, (found, named) in table.items()]
    print("\n".join(rows))
    assert missed == []
