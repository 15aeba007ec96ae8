"""`ratekeeper report`: the bill from a file, for people and for programs, while applications write it."""

import csv
import io
import json
import os
import subprocess
import sys
from datetime import datetime, timezone

import pytest

import ratekeeper as rk
from ratekeeper.costs import Spend
from ratekeeper.costs.spend import shown_usd
from ratekeeper.providers import Usage

click_testing = pytest.importorskip("click.testing")

from ratekeeper.cli.group import group  # noqa: E402


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "costs.db"
    with rk.CostTracker(store=path) as costs:
        noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
        costs.book(
            Usage(1000, 200), 27 * 10**10, model="small", tags={"agent": "writer", "job": "42"}, at=noon
        )
        costs.book(Usage(1000, 0), 10**12, model="large", tags={"agent": "editor", "job": "42"})
        costs.book(Usage(10, 2), None, model="mystery", tags={"agent": "writer"}, estimated=True)
        costs.book(None, None, model="small", outcome="failed")
    return path


MAIN = "from ratekeeper.cli import main; main()"


def report(*arguments, **environment):
    return click_testing.CliRunner(env=environment).invoke(group, ["report", *map(str, arguments)])


def test_sums_as_a_table(path):
    done = report("--db", path, "--by", "model, agent")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "model    agent   calls  failed  estimated  input  output     USD  unpriced tokens",
        "---------------------------------------------------------------------------------",
        "large    editor      1       0          0  1,000       0    1.00                0",
        "small    writer      1       0          0  1,000     200  0.2700                0",
        "mystery  writer      1       0          1     10       2    0.00               12",
        "small    -           1       1          0      0       0    0.00                0",
        "---------------------------------------------------------------------------------",
        "total                4       1          1  2,010     202    1.27               12",
    ]


def test_sums_for_programs(path):
    rows = json.loads(report("--db", f"sqlite:///{path}", "--by", "agent", "--format", "json").output)
    assert {row["agent"]: (row["calls"], row["usd"]) for row in rows} == {
        "editor": (1, "1.00"),
        "writer": (2, "0.27"),
        "": (1, "0.00"),
    }
    rows = list(csv.DictReader(io.StringIO(report("--db", path, "--by", "", "--format", "csv").output)))
    assert [(row["calls"], row["usd"]) for row in rows] == [("4", "1.27")]


def test_a_part_of_it_by_time_and_tags(path):
    def calls(*arguments):
        return [
            row["calls"] for row in json.loads(report("--db", path, "--format", "json", *arguments).output)
        ]

    assert calls("--by", "", "--since", "24h") == [3]
    assert calls("--by", "", "--until", "2026-03-02") == [1]
    assert calls("--by", "job", "--tag", "job=42") == [2]
    assert calls("--by", "", "--tag", "job=42", "--tag", "model=large") == [1]
    assert calls("--by", "", "--tag", "agent=nobody") == []


def test_single_attempts(path):
    lines = report("--db", path, "--entries", 2).output.splitlines()
    assert len(lines) == 4
    assert lines[-2].split()[2:] == [
        "mystery",
        "agent=writer",
        "answered",
        "(estimated)",
        "10",
        "2",
        "-",
        "0.0",
        "s",
        "0.0",
        "s",
    ]
    rows = json.loads(report("--db", path, "--entries", 9, "--tag", "model=small", "--format", "json").output)
    assert (rows[0]["outcome"], rows[0]["time"][:10]) == ("answered", "2026-03-01")


def test_the_file_may_stand_in_the_environment(path):
    assert "small" in report(RATEKEEPER_COSTS=str(path)).output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--db", "nowhere.db"], 1, "no such file"),
        (["--db", "redis://x"], 2, "sqlite:///"),
        (["--db", "PATH", "--since", "yesterday"], 2, "since"),
        (["--db", "PATH", "--tag", "job"], 2, "job=42"),
        (["--db", "PATH", "--by", "model,,agent"], 2, "by"),
        (["--db", "PATH", "--format", "xml"], 2, "xml"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(path, arguments, code, says):
    done = report(*(path if argument == "PATH" else argument for argument in arguments))
    assert done.exit_code == code
    assert says in done.output


def test_it_reads_while_the_application_writes(path):
    with rk.CostTracker(store=path, flush=0.01) as costs:
        for number in range(3):
            costs.book(Usage(1, 1), 1, model="live")
            costs.flush()
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    MAIN,
                    "report",
                    "--db",
                    path,
                    "--format",
                    "json",
                    "--tag",
                    "model=live",
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                capture_output=True,
                text=True,
                check=True,
            )
            assert json.loads(done.stdout)[0]["calls"] == number + 1


def test_a_sum_reads_as_one_line():
    spend = Spend(calls=6, input_tokens=4000, output_tokens=821, pico_usd=12_345_678_901, waited=2.13)
    assert str(spend) == "6 calls, 4,821 tokens, 0.0123 USD, 2.1 s waited"
    assert str(spend + spend).startswith("12 calls, 9,642 tokens, 0.0247 USD")
    shown = [shown_usd(pico) for pico in (0, 1, 150, 123_456, 999_999_999, 10**10, 1_234_567_890_000_000)]
    assert shown == [
        "0.00",
        "0.000000000001",
        "0.00000000015",
        "0.000000123",
        "0.001000",
        "0.0100",
        "1,234.57",
    ]
