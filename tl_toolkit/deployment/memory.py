"""The memory of a process that only loads a model and answers one row."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_INPUTS = "import sys, numpy\nimport {library}\nplaces = sys.argv[1:]\n"
_GRAPHS = """
for graph, row in zip(places[::2], places[1::2]):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    row = numpy.load(row)
    session.run(None, {node.name: row[node.name] for node in session.get_inputs()})
"""
_FOLDER = """
import tl_toolkit, transformers
folder, name, row = places
torch.set_num_threads(1)
model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    model(**{name: torch.from_numpy(own) for name, own in numpy.load(row).items()})
"""
# Not ru_maxrss, which on Linux starts from the memory of the parent.
_PEAK = """
try:
    status = open("/proc/self/status").read()
    print(1024 * int(status.split("VmHWM:")[1].split()[0]))
except OSError:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def memory_of_graphs(graphs: Sequence[tuple[Path, Mapping[str, Any]]]) -> int | None:
    """Peak resident bytes of a process with onnxruntime that loads graphs and runs each once; None if unknown.

    Args:
        graphs: the files, each with a row of its inputs as tensors.
    """
    return _peak("onnxruntime", _GRAPHS, [part for path, row in graphs for part in (path, row)])


def memory_of_folder(folder: Path, auto_class: str, row: Mapping[str, Any]) -> int | None:
    """As `memory_of_graphs`, for a model folder that is loaded with PyTorch and transformers."""
    return _peak("torch", _FOLDER, [folder, auto_class, row])


def _peak(library: str, work: str, arguments: Sequence[Any]) -> int | None:
    import numpy as np

    with TemporaryDirectory() as folder:
        places = []
        for place, own in enumerate(arguments):
            if isinstance(own, Mapping):
                np.savez(path := Path(folder, f"{place}.npz"), **{name: part.numpy() for name, part in own.items()})
                own = path
            places.append(str(own))
        code = _INPUTS.format(library=library) + work + _PEAK
        done = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, encoding="utf-8")
    return int(done.stdout) if done.returncode == 0 else None
