"""Every command of README and pages: its script, its options, its files exist."""

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.pages import NAMES, ROOT, blocks

# What a reader puts in place, or has
THEIRS = re.compile(r"path/to/|work_dirs/|data/|\.onnx$|\.pth?$")
SHARED_OPTIONS = (
    "mmareaaware/engine/launch.py",
    "mmareaaware/switching/command_line.py",
)


def commands(name: str) -> Iterator[list[str]]:
    """The words of each command of a page, without variables in front of it."""
    for block in blocks(name, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
                words.pop(0)
            if words and words[0] != "export":
                yield words


COMMANDS = [
    pytest.param(words, id=f"{name}: {' '.join(words)[:60]}")
    for name in NAMES
    for words in commands(name)
]


def test_pages_have_commands():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize("words", COMMANDS)
def test_command(words):
    program, *rest = words
    if program == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(), re.M)
        return
    if program == "pip":
        extras = re.findall(r"\.\[([\w,-]+)\]", " ".join(rest))
        assert extras
        pyproject = (ROOT / "pyproject.toml").read_text()
        for extra in extras[0].split(","):
            assert f"\n{extra} = [" in pyproject
        return
    if program == "python" and rest[0] == "-m":
        assert rest[1] in ("pytest", "torch.distributed.run", "mmareaaware.check")
        if rest[1] != "torch.distributed.run":
            check_files(rest[2:])
            return
        words = words[words.index("tools/train.py") :]
    else:
        assert program == "python" or program.startswith("tools/"), words
    script, *arguments = words[1:] if words[0] == "python" else words
    assert (ROOT / script).is_file(), script
    options = [a.partition("=")[0] for a in arguments if a.startswith("-")]
    known = (ROOT / script).read_text()
    if re.search("launch|switching", known) or script.endswith(".sh"):
        known += "".join((ROOT / path).read_text() for path in SHARED_OPTIONS)
    if script.endswith(".sh"):
        known += (ROOT / "tools/train.py").read_text()
    for option in options:
        assert f'"{option}"' in known, f"{script} has no {option}"
    check_files(arguments)


def check_files(arguments: list[str]) -> None:
    """That the files of the checkout among the arguments are there."""
    for argument in arguments:
        if "/" in argument and "=" not in argument and not THEIRS.search(argument):
            assert list(ROOT.glob(argument)), argument
