"""The command `ratekeeper demo`: its work, its arithmetic, what it shows, and how it ends."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import subprocess
import sys
import time
from decimal import Decimal

import pytest

pytest.importorskip("click")
rich_console = pytest.importorskip("rich.console")

from ratekeeper.cli.demo_many import Way, ideal  # noqa: E402
from ratekeeper.cli.demo_plan import MAX_TOKENS, Bound, Plan, make_prompts  # noqa: E402
from ratekeeper.cli.demo_run import Tally  # noqa: E402
from ratekeeper.cli.demo_run import run as run_once  # noqa: E402
from ratekeeper.cli.demo_screen import (  # noqa: E402
    Bars,
    Lines,
    LogLines,
    five_lines,
    formula,
    introduce_many,
    introduction,
    screen_for,
    table,
    table_of_many,
)

MAIN = "from ratekeeper.cli import main; main()"


def run(*arguments, code=MAIN, columns=80, **variables):
    environment = {**os.environ, "COLUMNS": str(columns), **variables}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", code, "demo", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def _langchain():
    pytest.importorskip("langchain_openai")
    pytest.importorskip("uvicorn")


def rows_of(text):
    """The rows of a table by their name: what stands there of the bare run and of the wrapped one."""
    cells = [line.split("│") for line in text.splitlines()]
    return {row[1].strip(): (row[2].strip(), row[3].strip()) for row in cells if len(row) == 5}


def console(**options):
    return rich_console.Console(file=io.StringIO(), width=80, **options)


def shown(some_console):
    return some_console.file.getvalue()


# --- the work ---------------------------------------------------------------------------------------------


def test_the_prompts_are_the_same_each_time_and_as_long_as_real_ones():
    prompts = make_prompts(300)
    assert prompts == make_prompts(300)
    assert len(set(prompts)) > 290
    sizes = sorted(len(prompt) / 4 for prompt in prompts)
    assert 400 < sizes[150] < 900
    assert sizes[-1] > 3 * sizes[150]


def test_the_ideal_is_the_slowest_dimension_and_one_call():
    plan = Plan(("x" * 4000,) * 100, at_once=50, rpm=60, tpm=40_000)
    assert plan.tokens == 100 * 1000
    requests, tokens, at_once = plan.bounds
    assert requests.seconds == pytest.approx(40.0)
    assert tokens.seconds == pytest.approx(90.0)
    assert at_once.seconds == pytest.approx(plan.one_call)
    assert plan.ideal == pytest.approx(90.0 + plan.one_call)


def test_a_dimension_that_holds_everything_at_the_start_takes_no_time():
    assert Bound("requests", 10, 10, 1.0).seconds == 0.0
    assert Bound("requests", 11, 10, 1.0).seconds == 1.0


def test_a_short_prompt_counts_as_its_ceiling():
    assert (
        Plan(("hello", "x" * 4 * MAX_TOKENS, "x" * (4 * MAX_TOKENS + 1)), 1, 1, 1).tokens
        == 3 * MAX_TOKENS + 1
    )


def test_a_dimension_gives_half_from_the_cut_on():
    assert Bound("requests", 25, 10, 1.0, cut_at=5.0).seconds == pytest.approx(5.0 + (15 - 5) / 0.5)
    assert Bound("requests", 15, 10, 1.0, cut_at=5.0).seconds == 5.0
    assert Bound("requests", 12, 10, 1.0, cut_at=5.0).seconds == 2.0


def test_the_second_act_makes_as_many_of_the_calls_as_take_no_longer_than_the_first():
    plan = Plan.of(400, 50, 320, 220_000)
    act = plan.cut()
    assert act.is_cut
    assert not plan.is_cut
    assert act.cut_at == pytest.approx(plan.ideal / 5, abs=0.1)
    assert act.prompts == plan.prompts[: len(act.prompts)]
    assert plan.ideal - 1.0 < act.ideal <= plan.ideal
    one_more = act._replace(prompts=plan.prompts[: len(act.prompts) + 1])
    assert one_more.ideal > plan.ideal


@pytest.mark.parametrize("calls", [1, 5])
def test_the_second_act_of_a_run_that_no_quota_holds_up_is_all_of_it(calls):
    plan = Plan.of(calls, 5, 1000, 1_000_000)
    assert plan.cut().prompts == plan.prompts


# --- what it shows ----------------------------------------------------------------------------------------


def test_a_terminal_gets_live_bars_and_anything_else_plain_lines():
    assert isinstance(screen_for(console(force_terminal=True)), Bars)
    assert isinstance(screen_for(console()), Lines)


def test_bars_show_answered_refused_and_failed_of_every_run():
    target = console(force_terminal=True, color_system=None)
    screen, tally = Bars(target), Tally("wrapped", 9)
    screen.start(tally)
    tally.answered, tally.refused, tally.failed, tally.seconds = 5, 4, 3, 2.0
    screen.show(tally)
    screen.finish(tally)
    assert "2 s 5 answered 4 429s 3 failed" in shown(target)


def test_lines_come_every_five_seconds_and_at_the_end():
    target = console()
    screen, tally = Lines(target), Tally("bare", 9)
    screen.start(tally)
    for tally.seconds in (1.0, 4.9, 5.1, 6.0, 9.9, 10.0, 11.0):
        screen.show(tally)
    tally.first_error = "RateLimitError: no more"
    screen.finish(tally)
    assert [line[:10] for line in shown(target).splitlines()] == [
        "bare: 5 s,",
        "bare: 10 s",
        "bare: 11 s",
        "  first fa",
    ]


def test_the_table_says_how_near_a_run_came_only_if_it_did_its_work():
    plan = Plan(("x" * 4000,) * 100, at_once=50, rpm=60, tpm=40_000)
    bare = Tally("bare", 100, answered=90, failed=10, refused=30, tokens=1234, seconds=5.0)
    wrapped = Tally("wrapped", 100, answered=100, usd=Decimal("0.01234"), seconds=2 * plan.ideal)
    target = console()
    target.print(table(plan, bare, wrapped))
    rows = {line.split("│")[1].strip(): line for line in shown(target).splitlines() if line.count("│") == 4}
    assert re.search(r"90 of 100 .* 100 of 100", rows["answered"])
    assert re.search(r"10 .* 0 ", rows["failed for good"])
    assert re.search(r"1,234 .* 0 ", rows["tokens answered"])
    assert re.search(r"0.0000 USD .* 0.0123 USD", rows["cost"])
    assert re.search(r"not finished .* 50.0%", rows["ideal / time"])


def test_the_formula_and_the_code_keep_their_lines_however_narrow_the_output():
    plan = Plan(("x" * 4000,) * 100, at_once=50, rpm=60, tpm=40_000)
    target = rich_console.Console(file=io.StringIO(), width=20)
    formula(target, plan)
    five_lines(target, plan)
    assert "(100,000 - 40,000) / 666.7 per s = 90.0 s" in shown(target)
    assert "keeper = rk.Keeper(rk.Quota(rpm=60, tpm=40_000))\n" in shown(target)


def test_the_second_act_says_what_is_cut_and_when():
    plan = Plan(("x" * 4000,) * 100, at_once=50, rpm=60, tpm=40_000, cut_at=6.0)
    target, tally = rich_console.Console(file=io.StringIO(), width=200), Tally("wrapped", 100, seconds=1.0)
    introduction(target, plan)
    target.print(table(plan, tally, tally))
    formula(target, plan)
    assert "After 6.0 s, without notice" in shown(target)
    assert "no more than 30 requests and 20,000 tokens a minute" in shown(target)
    assert "act two: cut to half after 6.0 s" in shown(target)
    assert "half the rate after 6.0 s" in shown(target)
    assert "6.0 s + (100 - 60 - 1.0 x 6.0 s) / 0.5 per s = 74.0 s" in shown(target)


def test_lines_of_the_log_come_between_the_others_as_they_are():
    target = console()
    record = logging.makeLogRecord(
        {"msg": "the limits of %s are now: [bold]", "args": ("openai/" + "x" * 90,)}
    )
    LogLines(target).handle(record)
    assert shown(target) == f"  log: the limits of openai/{'x' * 90} are now: [bold]\n"


@pytest.mark.usefixtures("_langchain")
def test_a_run_that_breaks_off_gives_the_terminal_back():
    class Model:
        async def ainvoke(self, prompt):
            raise KeyError("a bug")

    class Provider:
        def reset(self):
            """Nothing to reset."""

    target = console(force_terminal=True)
    with pytest.raises(KeyError, match="a bug"):
        asyncio.run(run_once("bare", Model(), Plan.of(1, 1, 1, 1), Provider(), Bars(target)))
    hidden, shown_again = "\x1b[?25l", "\x1b[?25h"
    assert shown(target).rindex(shown_again) > shown(target).rindex(hidden)


# --- the whole command ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_langchain")
def test_bare_calls_fail_where_wrapped_ones_are_all_answered_even_if_the_quota_is_cut():
    """66 calls at once on 60 a minute: the SDK gives up after a few seconds, the keeper needs six."""
    proxy = "http://127.0.0.1:9"
    started = time.monotonic()
    done = run(
        *("--calls", "66", "--at-once", "66", "--rpm", "60", "--tpm", "900000"),
        **{"HTTP_PROXY": proxy, "ALL_PROXY": proxy, "OPENAI_PROXY": proxy, "LANGSMITH_TRACING": "true"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    acts, third = done.stdout.split("Act three")
    first, second = map(rows_of, acts.split("Act two"))
    bare, wrapped = first["answered"]
    assert wrapped == "66 of 66"
    assert bare != wrapped
    assert int(first["failed for good"][0]) > 0
    assert int(first["429s seen"][0]) > int(first["429s seen"][1])
    assert first["quota-bound ideal"][1] == "6.5 s"
    assert 6.0 < float(first["time"][1].split()[0]) < time.monotonic() - started
    assert first["failed for good"][1] == second["failed for good"][1] == "0"
    assert second["answered"][1] == "63 of 63"
    assert float(second["time"][1].split()[0]) > 4.5
    assert "30 requests per 60 s (learned instead of 60)" in done.stdout
    assert "RateLimitError" in done.stdout
    assert "keeper.wrap(ChatOpenAI(" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""
    six_processes_need_a_store(third)


def six_processes_need_a_store(text):
    """Bare calls fail; a sixth each fails nobody, and takes as long as the process with the most calls."""
    cells = [line.split("│") for line in text.splitlines()]
    rows = {row[1].strip(): [cell.strip() for cell in row[2:5]] for row in cells if len(row) == 6}
    assert rows["answered"][1:] == ["78 of 78", "78 of 78"]
    assert int(rows["failed for good"][0]) > 0
    assert rows["failed for good"][1:] == ["0", "0"]
    assert int(rows["429s seen"][0]) > 10 > int(rows["429s seen"][2])
    split, shared = (float(time.split()[0]) for time in rows["time"][1:])
    # 39 calls at three a second, after three at once.
    assert split >= 13.0
    assert shared < split * 0.75


def test_the_third_act_shows_its_ways_side_by_side_and_its_ideal():
    ways = {
        "shared": Way(78, 0, ideal() * 2, 1),
        "bare": Way(30, 48, 1.0, 99),
        "split": Way(78, 0, ideal() * 4),
    }
    assert ideal() == pytest.approx((78 - 18) / 18 + 0.2)
    target = console()
    introduce_many(target)
    target.print(table_of_many(ways))
    assert "6 processes with one key, which make 42, 12, 6, 6, 6, 6 calls" in shown(target)
    assert re.search(r"ideal / time .* not finished .* 25.0% .* 50.0% ", shown(target))
    assert re.search(r"429s seen .* 99 .* 0 .* 1 ", shown(target))
    assert "…" not in shown(target)


@pytest.mark.usefixtures("_langchain")
def test_a_wrapped_call_that_fails_is_told_and_ends_in_exit_code_1():
    done = run("--calls", "2", "--tpm", "200", columns=40)
    assert done.returncode == 1
    assert "NeverFitsError" in done.stdout
    assert "Traceback" not in done.stderr


COUNT = """
import asyncio
from ratekeeper.cli.demo_plan import Plan
from ratekeeper.cli.demo_run import compare
from ratekeeper.testing import FakeProvider

class Silent:
    def start(self, tally): pass
    show = finish = start

plan = Plan.of(8, 8, 1000, 1_000_000)
with FakeProvider() as provider:
    asyncio.run(compare(plan, provider, Silent()))
    print(provider.report().admitted_tokens, plan.tokens)
"""


@pytest.mark.usefixtures("_langchain")
def test_the_plan_counts_tokens_as_the_provider_does():
    done = run(code=COUNT)
    assert done.returncode == 0, done.stderr
    counted, planned = map(float, done.stdout.split())
    assert counted == planned > 8 * MAX_TOKENS


@pytest.mark.parametrize("missing", ["langchain_openai", "uvicorn"])
def test_a_missing_extra_is_told_with_what_to_install(missing):
    done = run(code=f"import sys; sys.modules[{missing!r}] = None; {MAIN}")
    assert done.returncode == 1
    assert 'pip install "ratekeeper[demo]"' in done.stderr
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("option", ["--calls", "--at-once", "--rpm", "--tpm"])
def test_a_number_that_makes_no_sense_is_refused(option):
    done = run(option, "0")
    assert done.returncode == 2
    assert option in done.stderr


def test_asking_for_help_imports_no_framework():
    code = (
        "import sys; from ratekeeper.cli.group import group; group(['demo', '--help'], standalone_mode=False)"
    )
    code += "; assert not {'langchain_core', 'openai', 'uvicorn'} & set(sys.modules)"
    done = run(code=code)
    assert done.returncode == 0, done.stderr
    assert "400" in done.stdout
