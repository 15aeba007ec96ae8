"""Keeps a process on its machine: what would reach another host is refused, and remembered by name.

Owns an audit hook and the settings that switch downloads and telemetry off. The hook sees all that goes through
Python's sockets, in every thread and from the first import on. What opens sockets of its own (gRPC, uvloop, Rust) is
out of its sight: for those there are the settings. A child process is guarded by `sitecustomize` beside this file.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

#: Hosts that somebody tried to reach. Libraries swallow the error; a test that adds a host here fails all the same.
refused: list[str] = []

#: Nothing of the machine may decide where a test goes, and with which key.
_NOT_OURS = (
    *("OPENAI_", "AZURE_", "ANTHROPIC_", "GROQ_", "MISTRAL_", "GEMINI_", "GOOGLE_", "AWS_", "LITELLM_"),
    *("LANGSMITH_", "LANGCHAIN_", "CREWAI_", "OAI_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)

_SETTINGS = {
    # Tracing and telemetry
    "LANGSMITH_TRACING": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_TRACKING": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TESTING": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "ANONYMIZED_TELEMETRY": "False",
    "AUTOGEN_DISABLE_RUNTIME_TRACING": "true",
    "DO_NOT_TRACK": "1",
    # Price maps, model lists, vocabularies, weights
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # What the machine is and where it stands
    "AWS_EC2_METADATA_DISABLED": "true",
    "AUTOGEN_USE_DOCKER": "False",
}

#: Audit events of Python's sockets → where their host stands among the arguments.
_HOST_OR_ADDRESS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}


class OffTheMachine(OSError):
    """As if there were no network; an OSError, so that a library takes the way that it takes offline."""


def install() -> None:
    """For the rest of the process: an audit hook cannot be taken out."""
    sys.addaudithook(_look)


def clean_environment() -> None:
    """For this process and its children, before any framework reads it; children are guarded from then on."""
    for name in [name for name in os.environ if name.upper().startswith(_NOT_OURS)]:
        del os.environ[name]
    os.environ.update(_SETTINGS)
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def _look(event: str, args: tuple[Any, ...]) -> None:
    place = _HOST_OR_ADDRESS.get(event)
    if place is None:
        return
    host = args[place]
    if isinstance(host, tuple):
        host = host[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return  # a path, or a socket that has its address already
    if not _is_here(host):
        refused.append(str(host))
        raise OffTheMachine(f"a test tried to reach {host}")


def _is_here(host: Any) -> bool:
    """Whether it is no host (what asks for an address to listen on), or the loopback."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
