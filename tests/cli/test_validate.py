"""A file of requests is checked without a server."""

import json
from pathlib import Path

import pytest

from cli.exit_codes import ExitCode
from cli.main import run

GOOD = '{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}\n'


def requests(tmp_path: Path, content: str) -> str:
    path = tmp_path / "requests.jsonl"
    path.write_text(content)
    return str(path)


def test_a_valid_file_is_told_in_a_few_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", requests(tmp_path, GOOD)]) == ExitCode.OK
    assert capsys.readouterr().out.split() == (
        ["valid", "yes", "endpoint", "/v1/embeddings", "model", "m", "lines", "1", "tokens", "about", "23"]
    )


def test_every_wrong_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", requests(tmp_path, GOOD + GOOD + "x\n")]) == ExitCode.FAILED
    valid, *_, second, third = capsys.readouterr().out.splitlines()
    assert valid.split() == ["valid", "no"]
    assert second.startswith("2     duplicate_custom_id  custom_id  The custom_id 'a' ")
    assert third.startswith("3     invalid_json_line ")


def test_the_answer_as_json_is_that_of_the_api(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = requests(tmp_path, GOOD)
    assert run(["validate", path, "--endpoint", "/v1/completions", "--json"]) == ExitCode.FAILED
    answer = json.loads(capsys.readouterr().out)
    assert (answer["object"], answer["valid"], answer["endpoint"]) == (
        "batchmill.validation",
        False,
        "/v1/completions",
    )
    assert [error["code"] for error in answer["errors"]["data"]] == ["invalid_url"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["none.jsonl"], ExitCode.NOT_FOUND),
        (["none.jsonl", "--endpoint", "/v1/elsewhere"], ExitCode.USAGE),
    ],
)
def test_what_cannot_be_checked_is_said(
    arguments: list[str], code: ExitCode, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", *arguments]) == code
    assert capsys.readouterr().err.startswith("batchmill: ")
