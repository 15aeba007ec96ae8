"""An environment for what cannot live in this one: LiteLLM needs an openai older than ours.

Owns that environment, made once under `target`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from venv import EnvBuilder

from .callers import LITELLM

_TARGET = Path(__file__).parents[3] / "target"
_PINNED = {LITELLM: "litellm==1.106.2"}
_PATIENCE = 600.0


class UnavailableError(Exception):
    """The environment could not be made; says why."""


def python_for(contender: str) -> str:
    """The interpreter whose environment has what a contender needs.

    Raises:
        UnavailableError: Its packages could not be installed.
    """
    package = _PINNED.get(contender)
    if package is None:
        return sys.executable
    version = "{}.{}".format(*sys.version_info)
    home = _TARGET / f"bench-{package.replace('==', '-')}-py{version}"
    python, done = home / "bin" / "python", home / ".installed"
    if not done.exists():
        _install(package, home, python)
        done.touch()
    return str(python)


def _install(package: str, home: Path, python: Path) -> None:
    try:
        EnvBuilder(with_pip=True, clear=True).create(home)
        command = [str(python), "-m", "pip", "install", "--quiet", package]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"installing {package} took more than {_PATIENCE:g} s") from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or str(error)).strip().splitlines()[-1]
        raise UnavailableError(f"{package} cannot be installed: {reason}") from error
    except OSError as error:
        raise UnavailableError(f"no environment for {package}: {error}") from error
