"""Resources that an entry or stage requests: GPUs, processors, or several processes through accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config.parsing import read_yaml
from ...config.shipped import find_config
from ...errors import UserError
from .checks import expect, is_whole

LAUNCH_KEYS = frozenset(["gpus", "cpus", "accelerate_config"])


@dataclass(frozen=True)
class Launch:
    """How a job is started.

    Attributes:
        gpus: number of GPUs of one machine; None lets the executor decide.
        accelerate_config: the accelerate launch file that starts its processes; None for a single process.
        cpus: number of processors of one node of a cluster; None means one.
    """

    gpus: int | None = None
    accelerate_config: str | None = None
    cpus: int | None = None

    def counts(self) -> dict[str, Any]:
        """The fields that affect results, because they determine the rows per update; empty if nothing is requested.

        A launch file counts by its content, not by its path.
        """
        file = {} if self.accelerate_config is None else {"accelerate": read_yaml(Path(self.accelerate_config))}
        return file | ({"gpus": self.gpus} if self.gpus else {})


def take_launch(settings: Mapping[str, Any], where: str) -> tuple[Launch, dict[str, Any]]:
    """The resources that `settings` request, and the remaining settings.

    Raises:
        UserError: an invalid number of GPUs or processors, or a launch file that cannot be read.
    """
    gpus, file = settings.get("gpus"), settings.get("accelerate_config")
    on_cpu = str(settings.get("use_cpu")).lower() == "true"
    for key, least in (("gpus", 0), ("cpus", 1)):
        asked = settings.get(key)
        expect(asked is None or is_whole(asked, least), key, asked, where, f"a whole number of {least} or more")
    if file is not None:
        path = "the path of a launch file, or the name of a shipped one, such as multi_gpu.yaml"
        expect(isinstance(file, str), "accelerate_config", file, where, path)
        file = str(find_config(file))
        content = read_yaml(Path(file))
        if (machines := int(content.get("num_machines") or 1)) > 1:
            raise UserError(
                f"The launch file {file!r} of {where} requests {machines} machines, but a comparison uses one. Set "
                "num_machines: 1, or start the run on each machine with accelerate launch -m tl_toolkit finetune, and "
                "merge its record with --from_results."
            )
        on_cpu = on_cpu or str(content.get("use_cpu")).lower() == "true"
        if gpus is None and not on_cpu:
            gpus = int(content.get("num_processes") or 1)
    rest = {key: value for key, value in settings.items() if key not in LAUNCH_KEYS}
    return Launch(0 if gpus is None and on_cpu else gpus, file, settings.get("cpus")), rest
