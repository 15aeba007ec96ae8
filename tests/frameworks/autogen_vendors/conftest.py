"""What every version of AutoGen's classic API shares stands with `llm_config`."""

from ..llm_config.conftest import (  # noqa: F401
    _no_vocabulary,
    _own_folder,
    assistant,
    cast,
    config,
    entry,
    group,
    httpx,
    says_who,
    user,
)
