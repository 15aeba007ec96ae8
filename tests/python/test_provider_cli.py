"""The command `ratekeeper provider`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("rich")
testing = pytest.importorskip("click.testing")

MAIN = "from ratekeeper.cli import main; main()"


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "COLUMNS": "160"}


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_prints_how_to_point_the_sdks_at_it_and_on_ctrl_c_the_report():
    arguments = [
        "provider",
        "--rpm",
        "1",
        "--latency",
        "0.01",
        "--fault",
        "server_error,times=1",
        "--change",
        "at=9,rpm=3,rpd=50",
        "--rpd",
        "100",
        "--project-tpm",
        "1000",
        "--no-hints",
        "--azure-unknown",
    ]
    with subprocess.Popen(
        [sys.executable, "-u", "-c", MAIN, *arguments], env=environment(), stdout=subprocess.PIPE, text=True
    ) as child:
        seen = ""
        while "Ctrl-C" not in seen:
            line = child.stdout.readline()
            assert line, seen
            seen += line
        url = re.search(r"http://127\.0\.0\.1:\d+", seen).group()
        for variable in ("OPENAI_BASE_URL", "azure_endpoint", "ANTHROPIC_BASE_URL"):
            assert variable in seen
        for path in ("/groq/openai/v1", "/mistral/v1"):
            assert url + path in seen
        body = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'
        request = Request(f"{url}/v1/chat/completions", body, {"Authorization": "Bearer sk-secret"})
        with pytest.raises(OSError, match="500"):
            urlopen(request)
        child.send_signal(signal.SIGINT)
        rest, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "1 requests in" in rest
    assert "gpt-4o" in rest
    assert "500: 1" in rest
    assert "sk-secret" not in seen + rest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rpm", "-1"], "rpm must be at least 0"),
        (["--fault", "fire"], "fault.kind must be one of"),
        (["--fault", "slow,colour=red"], "'colour' is not one of"),
        (["--fault", "slow,delay=long"], "fault.delay must be a finite number"),
        (["--algorithm", "leaky"], "token_bucket"),
        (["--port", "1"], "cannot listen"),
    ],
)
def test_a_wrong_option_is_told_with_what_was_expected(arguments, said):
    if arguments == ["--port", "1"] and os.geteuid() == 0:
        arguments = ["--host", "192.0.2.1"]
    done = run(MAIN, "provider", *arguments)
    assert done.returncode != 0
    assert said in re.sub(r"\s+", " ", done.stderr.replace("│", ""))
    assert "Traceback" not in done.stderr


def test_the_group_lists_its_commands_without_importing_them():
    code = "import sys; from ratekeeper.cli.group import group; group(['--help'], standalone_mode=False)"
    code += "; assert 'ratekeeper.cli.provider' not in sys.modules"
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert re.search(r"provider\s+Run the fake provider", done.stdout)


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("click", [], "cli"),
        ("click", ["provider", "--help"], "cli,testing"),
        ("rich", ["provider", "--help"], "cli,testing"),
        ("click", ["demo"], "demo"),
        ("rich", ["demo"], "demo"),
    ],
)
def test_a_missing_extra_is_told_with_what_to_install(missing, arguments, extra):
    done = run(f"import sys; sys.modules[{missing!r}] = None; {MAIN}", *arguments)
    assert done.returncode == 1
    assert f"pip install 'ratekeeper[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
