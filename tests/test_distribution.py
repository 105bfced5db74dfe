"""The wheel: what is in it, and that it works without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tl_toolkit import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    return path


def test_every_module_recipe_configuration_and_template_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "tl_toolkit"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    recipes = [path.relative_to(ROOT) for path in (ROOT / "recipes").rglob("*") if path.suffix in (".py", ".yaml")]
    expected = {*tracked, *(f"tl_toolkit/{path.as_posix()}" for path in recipes)}
    assert len(recipes) > 30 and expected <= inside
    assert all(name.startswith(("tl_toolkit/", "tl_toolkit-")) for name in inside)


def test_the_metadata_are_complete_and_the_readme_works_outside_the_repository(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
    metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Version"] == __version__ and metadata["License-Expression"] == "Apache-2.0"
    for field in ("Summary", "Author", "Keywords", "Classifier", "Project-URL", "Requires-Python"):
        assert metadata[field], field
    readme = metadata.get_payload()
    assert isinstance(readme, str)
    links = [part.split(")")[0] for part in readme.split("](")[1:]]
    assert links and all(link.startswith(("https://", "#")) for link in links), links
    pictures = [link for link in links if link.endswith(".png")]
    assert pictures and all(f"/v{__version__}/" in link for link in pictures)
    for link in pictures:
        assert (ROOT / link.split(f"/v{__version__}/")[1]).exists(), link


def test_the_command_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "PYTHONSAFEPATH": "1"}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "tl_toolkit", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    place = tmp_path / "installed" / "tl_toolkit" / "recipes"
    assert run("configs", "demo.yaml", "two_cpu.yaml", "finetune.py").split() == [
        str(place / "configs" / "demo.yaml"),
        str(place / "accelerate" / "two_cpu.yaml"),
        str(place / "finetune.py"),
    ]
    assert "36 runs" in run("compare", "--config", "demo.yaml", "--output_dir", "out", "--dry_run")
