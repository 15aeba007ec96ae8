"""How large the wheel is, as maturin builds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

_ROOT = Path(__file__).parents[3]


def megabytes() -> float:
    """Millions of bytes of the wheel for this platform, built with the release profile."""
    with TemporaryDirectory() as out:
        command = [sys.executable, "-m", "maturin", "build", "--release", "--quiet", "--out", out]
        env = {**os.environ, "PYO3_PYTHON": sys.executable}
        build = subprocess.run(command, cwd=_ROOT, check=False, env=env, stderr=subprocess.PIPE, text=True)
        if build.returncode:
            raise RuntimeError(f"maturin could not build the wheel:\n{build.stderr}")
        (built,) = Path(out).glob("*.whl")
        return built.stat().st_size / 1e6
