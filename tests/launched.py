"""The `farlink` command as a process of its own, and what it prints before it goes on."""

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-P", "-c", "from scenarios.cli import main; main()"]


def read_links(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return the links that `farlink live --json` prints first; the child's stdout must be a pipe."""
    assert child.stdout is not None
    text = ""
    while not text.rstrip().endswith("}\n}") and (line := child.stdout.readline()):
        text += line
    assert text, "it ended without a link"
    links: dict[str, Any] = json.loads(text)["links"]
    return links
