"""Jobs on a Ray cluster: each job is a task with the requested processors and GPUs; its folder is copied back."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from ... import __version__
from ...errors import UserError
from ...records.record import write_record
from ...shared_work import sharing
from .failures import quiet
from .jobs import Job, RunJob, Train

INCOMING = ".incoming"


class RayTasks:
    """Executes each job as a Ray task, as many concurrently as the cluster has room for.

    Nodes need no common file system. A job works in a temporary folder of its node. The folders of its dependencies
    are sent there through Ray's object store; its own folder is sent back and renamed into place. A task whose worker
    or node dies is recorded as failed.

    Args:
        train: trains a run from its arguments.
        address: address of a running cluster, as in `ray.init`; None starts Ray on this machine until the jobs end.

    Raises:
        UserError: Ray is not installed.
    """

    def __init__(self, train: Train, address: str | None = None) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError("Install Ray with pip install 'tl-toolkit[ray]': --executor ray needs it.") from error
        self.ray, self.train, self.address = ray, train, address
        self._tasks: dict[Any, tuple[Job, Path]] = {}
        self._packed: dict[str, Any] = {}
        self._started = False

    def __enter__(self) -> Self:
        if not self.ray.is_initialized():
            try:
                self.ray.init(
                    self.address or "local", log_to_driver=False, configure_logging=False, include_dashboard=False
                )
            except Exception as error:  # Ray raises exceptions of many types
                what = f"Cannot connect to the Ray cluster at {self.address!r} (--ray_address)"
                what = what if self.address else "Cannot start Ray on this machine"
                raise UserError(f"{what}: {' '.join(str(error).split())}") from error
            self._started = True
        return self

    def __exit__(self, *error: object) -> None:
        for task in self._tasks:
            self.ray.cancel(task, force=True)
        self._tasks, self._packed = {}, {}
        if self._started:
            self.ray.shutdown()

    @property
    def at_once(self) -> int:
        """How many jobs with default requests fit on the cluster; at least 1."""
        there = self.ray.cluster_resources()
        return max(1, int(there.get("GPU", 0) or there.get("CPU", 1)))

    def check(self, jobs: Sequence[Job]) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for job in jobs:
            for kind, asked in (("GPU", self._gpus(job)), ("CPU", _cpus(job))):
                if asked > (largest := int(max(node.get(kind, 0) for node in nodes))):
                    raise UserError(
                        f"Lower '{kind.lower()}s' in the grid: {job.called} requests {asked} {kind}s of one node, but "
                        f"no node of the Ray cluster has more than {largest}."
                    )

    def warm_up(self) -> None:
        """Ray starts its workers itself."""

    def has_room(self, job: Job) -> bool:
        return len(self._tasks) < 2 * self.at_once  # some tasks wait, so that the cluster may scale up

    def begin(self, job: Job, output_dir: Path) -> None:
        for need in job.needs:
            if need not in self._packed:
                self._packed[need] = self.ray.put(packed(output_dir, [need]))
        needs = [self._packed[need] for need in job.needs]
        if not isinstance(job, RunJob):  # its own folder, so that a stopped stage or search resumes
            needs.append(self.ray.put(packed(output_dir, [job.name])))
        remote = self.ray.remote(num_cpus=_cpus(job), num_gpus=self._gpus(job), max_retries=0, num_returns=1)(_work)
        task = remote.remote(job, self.train, os.getcwd(), __version__, *needs)
        self._tasks[task] = job, output_dir

    def finished(self, timeout: float) -> list[tuple[Job, dict[str, Any]]]:
        ready, _ = self.ray.wait(list(self._tasks), num_returns=1, timeout=timeout)
        ended = []
        for task in ready:
            job, output_dir = self._tasks.pop(task)
            ended.append((job, self._record(task, job, output_dir)))
        return ended

    def _record(self, task: Any, job: Job, output_dir: Path) -> dict[str, Any]:
        errors = self.ray.exceptions
        try:
            record, archive, there = self.ray.get(task)
        except errors.RayTaskError as error:
            return job.fail(output_dir, "error", " ".join(str(error.cause).split()))
        except errors.OutOfMemoryError as error:
            return job.fail(output_dir, "out_of_memory", f"Ray stopped the run: {_first_line(error)}")
        except errors.RayError as error:
            return job.fail(output_dir, "killed", f"The Ray worker of the run died: {_first_line(error)}")
        record = json.loads(json.dumps(record).replace(json.dumps(there)[1:-1], json.dumps(str(output_dir))[1:-1]))
        return put_in_place(archive, job.name, output_dir, record)

    def _gpus(self, job: Job) -> int:
        if job.launch.gpus is not None:
            return job.launch.gpus
        return 1 if self.ray.cluster_resources().get("GPU", 0) else 0


def _cpus(job: Job) -> int:
    return job.launch.cpus or 1


def _work(job: Job, train: Train, folder: str, version: str, *needs: bytes) -> tuple[dict[str, Any], bytes, str]:
    """Execute a job in a task. Returns the record, the job's folder as an archive, and the path of the output folder.

    Raises:
        UserError: the node has another version of the toolkit.
    """
    if version != __version__:
        raise UserError(f"Install tl_toolkit {version}, the comparison's version: this node has {__version__}.")
    if os.path.isdir(folder):  # paths of local datasets may be relative to it
        os.chdir(folder)
    with tempfile.TemporaryDirectory(prefix="tl_toolkit_run_") as name, quiet(), sharing():
        output_dir = Path(name)
        for archive in needs:
            unpack(archive, output_dir)
        record = job.make(output_dir, train)
        return record, packed(output_dir, [job.name]), name


def packed(output_dir: Path, names: Iterable[str]) -> bytes:
    """The existing folders among `names` below `output_dir`, as one tar archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in names:
            if (output_dir / name).exists():
                archive.add(output_dir / name, arcname=name)
    return content.getvalue()


def unpack(content: bytes, folder: Path) -> None:
    """Extract an archive of `packed` below `folder`."""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")


def put_in_place(content: bytes, name: str, output_dir: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Move a packed folder of a job into place, with `record` in it. A kill leaves the new, the old or no folder.

    Returns the record as written.
    """
    incoming, target = output_dir / INCOMING, output_dir / name
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    unpack(content, incoming)
    record = write_record(incoming / name, record)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        os.replace(target, incoming / "before")
    os.replace(incoming / name, target)
    shutil.rmtree(incoming)
    return record


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
