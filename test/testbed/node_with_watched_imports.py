# SPDX-FileCopyrightText: The failure_monitor authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the node whose module WATCHED_NODE names; prints at its end what it has loaded.

The last line of the output is JSON: the top-level modules, and by which others numpy and yaml were
imported.
"""

import builtins
import json
import os
import runpy
import sys

_import = builtins.__import__
_importers: dict[str, set[str]] = {"numpy": set(), "yaml": set()}


def _watched_import(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "").split(".")[0]
    imported = name.split(".")[0]
    if level == 0 and imported in _importers and importer not in (imported, "importlib"):
        _importers[imported].add(importer)
    return _import(name, globals, locals, fromlist, level)


def _end(code: int) -> None:
    loaded = sorted({name.split(".")[0] for name in sys.modules})
    importers = {name: sorted(found) for name, found in _importers.items()}
    os.write(_stdout, (json.dumps({"loaded": loaded, **importers}) + "\n").encode())
    _exit(code)


if __name__ == "__main__":
    # The node replaces its standard output, and ends the process itself.
    _stdout, _exit = os.dup(1), os._exit
    os._exit = _end
    builtins.__import__ = _watched_import
    runpy.run_module(os.environ["WATCHED_NODE"], run_name="__main__")
