"""Energy measured by the hardware: RAPL for processors, NVML for NVIDIA GPUs; never an estimate."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAPL = Path("/sys/class/powercap")
_READ_EVERY = 30.0
"""Seconds between reads; RAPL's counters wrap around after about 260 kJ, which takes minutes at full load."""
SHARED = "TL_TOOLKIT_RUNS_AT_ONCE"
"""Environment variable with the number of runs that share this machine; energy is only measured for a single run."""


@contextmanager
def energy_used() -> Iterator[dict[str, float]]:
    """Measure the joules used within the context: `cpu` for all processors, `gpu` for this process's GPUs.

    The values include idle consumption. A value is absent if the machine does not report it or this process may not
    read it; both are absent if several runs share the machine.
    """
    result: dict[str, float] = {}
    if int(os.environ.get(SHARED, "1")) > 1:
        yield result
        return
    meters = [meter for meter in (_Rapl(), _Nvml()) if meter.works]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_READ_EVERY):
            for meter in meters:
                meter.read()

    watching = threading.Thread(target=watch, daemon=True)
    if meters:
        watching.start()
    try:
        yield result
    finally:
        over.set()
        if meters:
            watching.join()
    for meter in meters:
        meter.read()
        if meter.works:
            result[meter.name] = meter.joules


class _Rapl:
    """Running average power limit of Intel and AMD: a counter in microjoules per processor package."""

    name = "cpu"

    def __init__(self) -> None:
        self.joules = 0.0
        self.works = True
        # Zone intel-rapl:0:0 is part of intel-rapl:0; a zone named psys is the whole machine, packages included.
        zones = [zone for zone in sorted(RAPL.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self.zones = [zone for zone in zones if _zone_name(zone).startswith("package")]
        self.last: list[int] = []
        self.read()
        self.joules = 0.0

    def read(self) -> None:
        """Add the energy used since the last read."""
        try:
            now = [int((zone / "energy_uj").read_text()) for zone in self.zones]
            ends = [int((zone / "max_energy_range_uj").read_text()) for zone in self.zones]
        except (OSError, ValueError):  # on most systems only the superuser may read them
            now, ends = [], []
        if not now or (self.last and len(now) != len(self.last)):
            self.works = False
            return
        for before, after, end in zip(self.last, now, ends, strict=False):
            self.joules += (after - before if after >= before else after + end - before) / 1e6
        self.last = now


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text()
    except OSError:
        return ""


class _Nvml:
    """NVIDIA's management library: a counter in millijoules per GPU, since the driver was loaded."""

    name = "gpu"

    def __init__(self) -> None:
        self.joules = 0.0
        self.works = False
        self.handles: list[Any] = []
        try:
            import pynvml
            import torch

            if not torch.cuda.is_available():
                return
            pynvml.nvmlInit()
            for index in range(torch.cuda.device_count()):
                uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
                self.handles.append(pynvml.nvmlDeviceGetHandleByUUID(uuid))
            self.first = self._total()
            self.works = True
        except Exception:  # no package, driver, permission or counter: no measurement
            return

    def _total(self) -> float:
        import pynvml

        return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in self.handles) / 1000

    def read(self) -> None:
        """Update the energy used since the start."""
        try:
            self.joules = self._total() - self.first
        except Exception:
            self.works = False
