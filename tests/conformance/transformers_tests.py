"""transformers' own model tests, from the source distribution of the installed version.

`load()` downloads the source distribution with pip, so pip's index, proxy and certificates apply, and stores the test
files in the user's cache folder. They are not part of this repository.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import transformers
from filelock import FileLock

from tl_toolkit.data.built_in import cache_folder

PACKAGE = "transformers_sdist_tests"


class Unavailable(Exception):
    """The source distribution is not available; the message gives the reason."""


def fetch() -> Path:
    """The folder with transformers' test files, which are downloaded on first use.

    Raises:
        Unavailable: pip could not download the source distribution of the installed version.
    """
    folder = cache_folder() / "transformers-tests" / transformers.__version__
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            temporary = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                _extract(_download(temporary), temporary / "tests")
                os.replace(temporary / "tests", folder)
            finally:
                shutil.rmtree(temporary)
    return folder


def _download(folder: Path) -> Path:
    requirement = f"transformers=={transformers.__version__}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "transformers", requirement]
    command += ["--dest", str(folder), "--retries", "1", "--timeout", "15", "--disable-pip-version-check"]
    if importlib.util.find_spec("setuptools"):
        command.append("--no-build-isolation")  # pip builds the metadata; this avoids a build environment
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        last_line = (done.stderr.strip().splitlines() or ["no archive was written"])[-1]
        raise Unavailable(f"pip could not download the source distribution of {requirement}: {last_line}")
    return archives[0]


def _extract(archive: Path, folder: Path) -> None:
    folder.mkdir()
    (folder / "__init__.py").touch()
    with tarfile.open(archive) as source:
        for member in source:
            parts = Path(member.name).parts  # transformers-5.x.y/tests/test_….py
            content = source.extractfile(member) if len(parts) == 3 and parts[1] == "tests" else None
            if content is not None and parts[2].endswith(".py"):
                (folder / parts[2]).write_bytes(content.read())


def _stub(name: str, **attributes: Any) -> None:
    """Create an empty package `PACKAGE.a` and its module `PACKAGE.a.b` with these attributes."""
    parent, _, _ = name.rpartition(".")
    for path in (parent, name):
        sys.modules.setdefault(f"{PACKAGE}.{path}", ModuleType(f"{PACKAGE}.{path}"))
    vars(sys.modules[f"{PACKAGE}.{name}"]).update(attributes)


def load() -> tuple[type, type]:
    """transformers' `ModelTesterMixin` and `ConfigTester`.

    Raises:
        Unavailable: see `fetch`.
    """
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(fetch())]
        sys.modules[PACKAGE] = package
        # Stubs for imports from folders that are not in the source distribution. Only the tests of generation and
        # export are lost: the configuration tests only need some fields that are not defaults.
        _stub("exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
        _stub("generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
        fields = {"return_dict": False, "output_hidden_states": True, "output_attentions": True, "dtype": "float16"}
        fields |= {"chunk_size_feed_forward": 5, "architectures": ["Model"], "problem_type": "regression"}
        fields |= {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
        _stub("utils.test_configuration_utils", config_common_kwargs=fields)
    modeling = importlib.import_module(f"{PACKAGE}.test_modeling_common")
    configuration = importlib.import_module(f"{PACKAGE}.test_configuration_common")
    return modeling.ModelTesterMixin, configuration.ConfigTester
