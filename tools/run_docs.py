"""Runs the runnable pages of the documentation, and can write what the commands print into them.

``python tools/run_docs.py docs/tutorial.md ...`` brings pages up to date; tests/test_docs.py checks them. A
page with the line ``<!-- run -->`` is runnable. It is executed from top to bottom in an empty folder:

- A ``console`` block holds commands, ``$ ...``, each with what it prints below. A line ``...`` stands for any
  number of lines. tools/listings.py compares the two.
- A ``yaml`` block whose first line is ``# NAME.yaml`` is a file of that name, and so is a ``json`` block
  after a sentence that ends in ```NAME.json`:``.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from click.testing import CliRunner
from listings import updated

from dybitq.cli.main import group

MARK = "\n<!-- run -->\n"
SHELL = re.compile(r"[|<>;&$*]")


@dataclass(slots=True)
class Command:
    """A command of a console block; ``source`` are its lines in the page, ``shown`` the lines below it."""

    source: list[str]
    shown: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The command on one line."""
        return "\n".join(self.source)[2:].replace("\\\n", " ")


@dataclass(slots=True)
class File:
    """A file that the page asks the reader to write."""

    name: str
    text: str


@dataclass(slots=True)
class Console:
    """A console block."""

    commands: list[Command]


Block = str | File | Console


def blocks(text: str) -> list[Block]:
    """Cut a page into files, console blocks and the text around them, fences included in the text."""
    found: list[Block] = []
    for part in re.split(r"(^```\w*\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        fence, _, rest = part.partition("\n")
        body = rest.removesuffix("```")
        name = re.match(r"# (\S+\.yaml)\n", body)
        if fence == "```json" and found:
            name = re.search(r"`(\S+\.json)`:\s+$", str(found[-1]))
        if fence == "```console":
            found += [fence + "\n", Console(_commands(body.splitlines())), "```"]
        elif fence in ("```yaml", "```json") and name:
            found += [fence + "\n", File(name.group(1), body), "```"]
        else:
            found.append(part)
    return found


def _commands(lines: list[str]) -> list[Command]:
    commands: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            commands.append(Command([line]))
        elif commands and not commands[-1].shown and commands[-1].source[-1].endswith("\\"):
            commands[-1].source.append(line)
        elif commands:
            commands[-1].shown.append(line)
    return commands


def commands(text: str) -> Iterator[Command]:
    """All commands of a page."""
    for block in blocks(text):
        if isinstance(block, Console):
            yield from block.commands


def run(command: str) -> list[str]:
    """Lines that a command prints on stdout and stderr in the current folder.

    Raises:
        RuntimeError: it fails; the message holds what it printed.
    """
    words = shlex.split(command)
    if words[0] == "cd":
        os.chdir(words[1])
        return []
    if words[0] == "dybitq" and not SHELL.search(command):
        result = CliRunner().invoke(group, words[1:])
        code, output = result.exit_code, result.output
    else:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        code, output = done.returncode, done.stdout
    if code != 0:
        raise RuntimeError(f"$ {command}\n{output}\nexit code {code}")
    return output.rstrip("\n").splitlines()


def play(text: str, run: Callable[[str], list[str]] = run) -> Iterator[tuple[Command, list[str]]]:
    """Execute a page in the current folder with ``run``; yield each command with what it printed."""
    for block in blocks(text):
        if isinstance(block, File):
            Path(block.name).write_text(block.text, encoding="utf-8")
        elif isinstance(block, Console):
            for command in block.commands:
                yield command, run(command.text)


def refreshed(text: str) -> str:
    """Replace every listing of the page that no longer agrees by the present output."""
    printed = iter([lines for _, lines in play(text)])
    parts = []
    for block in blocks(text):
        if isinstance(block, Console):
            for command in block.commands:
                now = next(printed)
                blank = [""] if command.shown[-1:] == [""] else []
                shown = command.shown[: len(command.shown) - len(blank)]
                parts.append("\n".join([*command.source, *updated(shown, now), *blank]) + "\n")
        else:
            parts.append(block.text if isinstance(block, File) else block)
    return "".join(parts)


def main() -> None:
    """Bring the pages named on the command line up to date."""
    for name in sys.argv[1:]:
        page = Path(name).resolve()
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
