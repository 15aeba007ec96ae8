#!/usr/bin/env bash
# The package's own tests on every other supported interpreter that runs here, with one abi3 wheel for all.
set -euo pipefail
bin=$1
wheels=$(realpath "$2")
for version in 3.10 3.11 3.12 3.13; do
    python=python$version
    if [ "$("$bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$version" ]; then
        continue
    fi
    if ! "$python" -c 'import venv' 2>/dev/null; then
        echo "$python is not here: not tested"
        continue
    fi
    venv=.venv-$version
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --upgrade 'pip>=25.1'
    "$venv/bin/pip" install --quiet --group test "ratekeeper[testing,cli] @ file://$(echo "$wheels"/*.whl)"
    "$venv/bin/pip" install --quiet --force-reinstall --no-deps "$wheels"/*.whl
    echo "$python:"
    "$venv/bin/python" -m pytest --quiet tests/python
done
