"""Everything that is looked at, in the order of the report."""

from __future__ import annotations

from typing import Final

from orchestrator.doctor.compute import cuda, torch_works
from orchestrator.doctor.disks import disk, ray_disk
from orchestrator.doctor.machine import memory, open_files, shared_memory
from orchestrator.doctor.needs import data, weights
from orchestrator.doctor.places import cache, storage, tracking
from orchestrator.doctor.ray_start import ray_starts
from orchestrator.doctor.running import Check
from orchestrator.doctor.versions import extras, packages, python, tested

__all__ = ["CHECKS"]

CHECKS: Final = (
    Check(name="python", look=python),
    Check(name="packages", look=packages),
    Check(name="versions", look=tested),
    Check(name="extras", look=extras),
    Check(name="torch", look=torch_works, timeout_s=60, apart=True),
    Check(name="cuda", look=cuda, timeout_s=60, apart=True),
    Check(name="memory", look=memory),
    Check(name="shared memory", look=shared_memory),
    Check(name="open files", look=open_files),
    Check(name="Ray's disk", look=ray_disk),
    Check(name="ray", look=ray_starts, timeout_s=90, apart=True),
    Check(name="storage", look=storage),
    Check(name="tracking", look=tracking),
    Check(name="disk", look=disk),
    Check(name="cache", look=cache),
    Check(name="weights", look=weights),
    Check(name="data", look=data, apart=True),
)
"""A process of its own costs a start of Python; it is for what loads a large library or may crash."""
