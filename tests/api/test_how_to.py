"""What pages of docs/how-to show is what happens: their examples run, and print what the page says."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from events.batch import BatchCompleted, BatchFinalizing, Usage
from events.outcomes.lines import LineOutcome
from tests.api.serving import BEGAN_MS, Project, Served

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = ("look-into-a-batch.md", "check-an-input.md", "receive-webhooks.md")
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r"^##+ (.*)$", re.MULTILINE)


def examples(page: str) -> list[object]:
    """Each example of a page with what it prints, by the heading it stands under."""
    text = (FOLDER / page).read_text(encoding="utf-8")
    return [
        pytest.param(found[1], found[2], id=f"{page}: {TITLE.findall(text[: found.start()])[-1]}")
        for found in EXAMPLE.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_example_is_found(page: str) -> None:
    assert len(examples(page)) == (FOLDER / page).read_text(encoding="utf-8").count("```python")


@pytest.mark.parametrize(("example", "printed"), [example for page in PAGES for example in examples(page)])
def test_an_example_prints_what_the_page_says(
    served: Served, project: Project, monkeypatch: pytest.MonkeyPatch, example: str, printed: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{served.port}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", project.key)
    output = StringIO()
    with redirect_stdout(output):
        exec(example, {"batch_id": the_batch(served, project)})
    assert re.fullmatch(re.escape(printed).replace("…", ".*"), output.getvalue()), output.getvalue()


def the_batch(served: Served, project: Project) -> str:
    """A batch of three lines, the second of which failed."""
    content = b"".join(map(request_line, "abc"))
    batch_id = project.client.created(project.client.uploaded(content))
    served.start(batch_id, content)
    served.record(batch_id, *(outcome(line, custom_id) for line, custom_id in enumerate("abc")))
    served.happen(batch_id, BatchFinalizing("done"), BatchCompleted("file-o", "file-e"))
    return batch_id


def request_line(custom_id: str) -> bytes:
    return (
        f'{{"custom_id":"{custom_id}","method":"POST","url":"/v1/chat/completions",'
        '"body":{"model":"small","messages":[{"role":"user","content":"hi"}]}}\n'
    ).encode()


def outcome(line: int, custom_id: str) -> LineOutcome:
    if custom_id == "b":
        status, usage = 400, Usage()
        body = (
            '{"error":{"message":"This model takes 4096 tokens at most; yours are 5120.","code":"too_long"}}'
        )
    else:
        status, usage = 200, Usage(8, 2, 0, 0, 10)
        body = '{"choices":[]}'
    result = (
        f'{{"id":"batch_req_{line}","custom_id":"{custom_id}","response":{{"status_code":{status},'
        f'"request_id":"req_{line}","body":{body}}},"error":null}}\n'
    )
    return LineOutcome(line, status, 1, usage, BEGAN_MS / 1000 + line, 0.25, result.encode())
