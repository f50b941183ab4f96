"""``mmcv._ext`` is found in an environment that holds nothing of ours but the wheel.

The mmcv here is a stand-in of one file: what is tested is who finds the module.
"""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

WHO = "import mmcv, importlib.util as u; print(u.find_spec('mmcv._ext').origin)"


class Environment:
    """A virtual environment without a pip of its own."""

    def __init__(self, path):
        command = [sys.executable, "-m", "venv", "--without-pip", path]
        subprocess.run(command, check=True)
        self.python = path / "bin/python"
        self.site = Path(sysconfig.get_path("purelib", vars=dict(base=str(path))))

    def pip(self, *arguments):
        command = [sys.executable, "-m", "pip", f"--python={self.python}", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    def run(self, code):
        command = [str(self.python), "-c", code]
        return subprocess.run(command, capture_output=True, text=True, cwd=self.site)


@pytest.fixture
def environment(tmp_path, wheel):
    environment = Environment(tmp_path / "env")
    environment.pip("install", "--no-deps", "--no-index", str(wheel))
    (environment.site / "mmcv").mkdir()
    (environment.site / "mmcv/__init__.py").write_text("")
    return environment


def test_it_is_found_without_an_import_of_ours(environment):
    result = environment.run(WHO)
    assert result.stdout.strip().endswith("mmareaaware_ops/ext.py")
    assert result.stderr == ""


def test_a_compiled_mmcv_wins(environment):
    compiled = environment.site / "mmcv/_ext.py"
    compiled.write_text("")
    assert environment.run(WHO).stdout.strip() == str(compiled)


def test_it_costs_the_start_of_python_nothing_but_itself(environment):
    loaded = environment.run("import sys; print(*sys.modules)").stdout.split()
    assert [name for name in loaded if name.startswith(("mm", "torch"))] == [
        "mmareaaware_ops"
    ]


def test_uninstalling_leaves_nothing(environment):
    environment.pip("uninstall", "--yes", "mmareaaware")
    assert not list(environment.site.glob("*mmareaaware*"))
    result = environment.run(WHO)
    assert "'NoneType' object has no attribute 'origin'" in result.stderr


def test_a_leftover_pth_file_breaks_nothing(environment):
    (environment.site / "mmareaaware_ops/__init__.py").unlink()
    (environment.site / "mmareaaware_ops").rename(environment.site / "gone")
    result = environment.run("print('fine')")
    assert result.stdout == "fine\n"
    assert result.stderr == ""
