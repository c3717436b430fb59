"""What a project may have, has and has left; what is over its quota is refused, and nothing else is."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO

import msgspec
import pytest

from api.limits import LimitsObject
from api.token_room import LOOK_AGAIN
from cli.settings_sources import load
from events.batch import BatchStarted
from events.file import File
from events.limits import Limits, ProjectLimits
from events.log import Board
from events.read_models import model_write
from tests.api.client import FORM, Answer, field, file, form
from tests.api.serving import OPTIONS, Project, Served, serving
from tests.api.test_how_to import EXAMPLE, FOLDER, request_line
from tests.api.uploading import begun, cancel, complete, sent, wanted
from tests.events.stage import hand_out_one
from tests.postgres import Database, PostgresServer

LINE = b'{"custom_id":"a"}\n'
QUOTA = 1_000
LIMITS = Limits(
    queued_lines=100, queued_tokens=5_000, running_batches=3, batches_per_hour=50, stored_bytes=QUOTA
)
PAGE = FOLDER / "limit-projects.md"


@pytest.fixture(scope="module")
def limited(
    postgres_server: PostgresServer, migrated_template: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("limited")
    config = tmp_path_factory.mktemp("settings") / "batchmill.toml"
    config.write_text(re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)[0])
    documented = load(environ={}, config=config).settings.limits
    own = {"unlimited": Limits(), "search": documented.of("search")}
    options = msgspec.structs.replace(OPTIONS, limits=ProjectLimits(LIMITS, own))
    with serving(postgres_server, migrated_template.name, folder, options) as running:
        yield running


@pytest.fixture
def mine(limited: Served) -> Project:
    return limited.project()


def limits_of(project: Project) -> LimitsObject:
    answer = project.client.get("/v1/batchmill/limits")
    assert answer.status == 200, answer.body
    return msgspec.convert(answer.json, LimitsObject)


def content(size: int) -> bytes:
    """A file of a batch, of so many bytes."""
    return LINE + b" " * (size - len(LINE))


def run(limited: Served, project: Project, lines: int, tokens: int, *, handed_out: int = 0) -> str:
    """A batch that was planned, and of which so many lines were handed out."""
    batch_id = project.client.created()
    board = Board(batch_id, project.id, "running", model="m", total=lines, estimated_tokens=tokens)
    limited.happen(batch_id, BatchStarted(lines, "m", tokens), board=board)

    async def hand_out() -> None:
        leadership = await limited.board.take_leadership("test", await limited.board.observe("test"))
        assert leadership is not None
        (batch,) = await limited.board.open_batches([batch_id])
        assert await hand_out_one(limited.board, leadership, batch, handed_out)

    if handed_out:
        limited.run(hand_out())
    return batch_id


def test_what_a_project_has_and_what_is_left_of_it_and_who_waits(limited: Served, mine: Project) -> None:
    mine.client.uploaded(content(300))
    run(limited, mine, 60, 1_200, handed_out=1)
    run(limited, mine, 50, 900)
    run(limited, mine, 1, 20)
    found = limits_of(mine)
    assert (found.object, found.project) == ("batchmill.limits", mine.id)
    amounts = {
        name: (amount.limit, amount.used, amount.left)
        for name in Limits.__struct_fields__
        for amount in [getattr(found, name)]
    }
    assert amounts == {
        "requests_per_minute": (None, None, None),
        "batches_per_hour": (50, 3, 47),
        "queued_lines": (100, 60, 40),
        "queued_tokens": (5_000, 1_200, 3_800),
        "running_batches": (3, 1, 2),
        "stored_bytes": (1_000, 300, 700),
    }
    assert (found.waiting.batches, found.waiting.lines, found.waiting.tokens) == (2, 51, 920)
    assert found.largest.batch_lines == 100
    assert found.largest.batch_file_bytes == OPTIONS.max_batch_file_bytes


def test_a_project_without_limits_is_told_what_it_has(limited: Served) -> None:
    project = limited.project("unlimited")
    project.client.uploaded(content(2 * QUOTA))
    found = limits_of(project)
    assert (found.stored_bytes.limit, found.stored_bytes.used, found.stored_bytes.left) == (
        None,
        2 * QUOTA,
        None,
    )
    assert found.largest.batch_lines == OPTIONS.max_batch_lines


def test_looking_takes_nothing(mine: Project) -> None:
    assert limits_of(mine) == limits_of(mine)


def test_answers_tell_how_many_tokens_may_be_queued_yet(limited: Served, mine: Project) -> None:
    now = [0.0]
    limited.token_room._clock = lambda: now[0]
    assert mine.client.get("/v1/models").headers["x-ratelimit-remaining-tokens"] == "5000"
    run(limited, mine, 10, 4_000, handed_out=1)
    assert mine.client.get("/v1/models").headers["x-ratelimit-reset-tokens"] == "0ms"
    now[0] = LOOK_AGAIN
    headers = mine.client.get("/v1/models").headers
    assert headers["x-ratelimit-limit-tokens"] == "5000"
    assert headers["x-ratelimit-remaining-tokens"] == "1000"
    assert headers["x-ratelimit-reset-tokens"].startswith(("23h59m", "24h0m"))
    assert "x-ratelimit-limit-requests" not in headers
    assert "x-ratelimit-limit-tokens" not in limited.project("unlimited").client.get("/v1/models").headers


def test_what_exceeds_the_quota_is_refused_with_the_reason_and_leaves_nothing(
    limited: Served, mine: Project
) -> None:
    mine.client.uploaded(content(600))
    before = limited.stored()
    answer = mine.client.upload(content(401))
    assert answer.status == 429
    error = answer.error
    assert (error["type"], error["code"], error["param"]) == (
        "insufficient_quota",
        "insufficient_quota",
        None,
    )
    assert error["message"] == (
        f"You exceeded your current quota: project {mine.id} may store 1,000 bytes (stored_bytes), its files "
        "and uploads hold 600, and this upload has 401 or more. Delete files, or ask the server's operator "
        "for a higher limit."
    )
    assert answer.headers["x-should-retry"] == "false"
    assert limited.stored() == before
    assert mine.client.upload(content(400)).status == 200
    assert limits_of(mine).stored_bytes.left == 0


def test_a_file_that_is_deleted_gives_its_bytes_back(mine: Project) -> None:
    file_id = mine.client.uploaded(content(900))
    assert mine.client.upload(content(200)).status == 429
    assert mine.client.ask("DELETE", f"/v1/files/{file_id}").status == 200
    assert mine.client.upload(content(200)).status == 200


def test_bytes_are_the_same_before_and_after_the_projector_came(limited: Served, mine: Project) -> None:
    file_id = mine.client.uploaded(content(250), name=',"size":7 \\ "size":9')
    assert limits_of(mine).stored_bytes.used == 250
    seen = limited.run(limited.journal.models.get(File, file_id))
    limited.run(limited.journal.models.advance([model_write(seen)]))
    assert limits_of(mine).stored_bytes.used == 250


def test_an_upload_in_parts_takes_its_bytes_from_its_creation_on(mine: Project) -> None:
    client = mine.client
    upload = begun(client, 600)
    assert limits_of(mine).stored_bytes.used == 600
    assert client.post_json("/v1/uploads", wanted(500)).error["code"] == "insufficient_quota"
    part = sent(client, upload, content(600))
    assert complete(client, upload, part).status == 200
    assert limits_of(mine).stored_bytes.used == 600
    assert cancel(client, begun(client, 400)).status == 200
    assert limits_of(mine).stored_bytes.used == 600


def test_many_uploads_at_once_take_no_more_than_there_is(mine: Project) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: mine.client.upload(content(150)), range(16)))
    taken = [answer for answer in answers if answer.status == 200]
    assert {answer.status for answer in answers} == {200, 429}
    assert 1 <= len(taken) <= 6
    assert limits_of(mine).stored_bytes.used == 150 * len(taken)


def test_a_file_whose_length_is_not_announced_is_counted_when_it_is_there(
    limited: Served, mine: Project
) -> None:
    def post(size: int) -> Answer:
        pieces = iter([form(field("purpose", "batch"), file(content(size)))])
        return mine.client.ask("POST", "/v1/files", pieces, FORM)

    before = limited.stored()
    assert post(QUOTA + 1).error["code"] == "insufficient_quota"
    assert limited.stored() == before
    assert post(QUOTA).status == 200


def test_the_same_key_finds_its_file_also_when_the_quota_is_used_up(mine: Project) -> None:
    def post() -> Answer:
        body = form(field("purpose", "batch"), file(content(QUOTA)))
        return mine.client.ask("POST", "/v1/files", body, FORM | {"idempotency-key": "once"})

    first = post()
    assert first.status == 200
    assert post().json["id"] == first.json["id"]


def test_a_batch_that_waits_for_room_says_so(limited: Served, mine: Project) -> None:
    batch_id = run(limited, mine, 5, 10)
    reason = "waiting for room: with it 105 of 100 queued lines in project search"
    limited.run(limited.board.explain({batch_id: reason}))
    answer = mine.client.get(f"/v1/batches/{batch_id}")
    assert (answer.json["status"], answer.json["batchmill"]["waiting_for"]) == ("in_progress", reason)


def test_a_dry_run_tells_what_could_never_be_queued(limited: Served, mine: Project) -> None:
    def line(n: int, text: str) -> bytes:
        body = b'{"model":"small","messages":[{"role":"user","content":"%b"}]}' % text.encode()
        return b'{"custom_id":"%d","method":"POST","url":"/v1/chat/completions","body":%b}\n' % (n, body)

    def dry_run(content: bytes) -> list[tuple[str, str | None, int | None]]:
        path = "/v1/batchmill/validate?endpoint=/v1/chat/completions"
        answer = mine.client.ask("POST", path, content, {"content-type": "application/jsonl"})
        errors = answer.json["errors"] or {"data": []}
        return [(error["code"], error["param"], error["line"]) for error in errors["data"]]

    assert dry_run(line(1, "x")) == []
    assert dry_run(b"".join(line(n, "x") for n in range(101))) == [("too_many_tasks", None, None)]
    assert dry_run(line(1, "x" * 20_000)) == [("token_limit_exceeded", None, None)]


def test_limits_are_of_ones_own_project(limited: Served) -> None:
    one, other = limited.project(), limited.project()
    one.client.uploaded(content(100))
    run(limited, one, 10, 10, handed_out=1)
    found = limits_of(other)
    assert (found.stored_bytes.used, found.queued_lines.used, found.running_batches.used) == (0, 0, 0)
    assert found.batches_per_hour.used == 0


def test_what_the_page_shows_is_printed(limited: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    project, lines = limited.project("search"), [request_line(custom_id) for custom_id in "abc"]
    project.client.uploaded(b"".join(lines))
    run(limited, project, 3, sum(-(-len(line.rstrip()) // 4) for line in lines), handed_out=1)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{limited.port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", project.key)
    ((example, printed),) = EXAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    output = StringIO()
    with redirect_stdout(output):
        exec(example, {})
    assert output.getvalue() == printed
