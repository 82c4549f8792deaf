"""An MLflow server that dies in the middle of a sweep whose driver dies as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow_server import Server

from benchmarks.chaos.invariants import examine
from benchmarks.chaos.kills import small_sweep
from benchmarks.chaos.victim import Victim

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_mlflow_is_brought_up_to_date_after_both_were_killed(new_victim: Callable[..., Victim], tmp_path: Path) -> None:
    """Lost: nothing. The user sees one line while the server is away, and a complete MLflow in the end."""
    server = Server(tmp_path / "server")
    try:
        server.start()
        victim = new_victim(small_sweep(tracking_uri=server.uri))
        victim.set_epoch_s(1.0)
        driver = victim.start()
        victim.wait_for_epoch(driver)
        server.kill()
        victim.wait_for_epoch(driver, 6)  # trials wait for no server
        driver.kill()
        server.start()
        victim.set_epoch_s(0.0)
        driver = victim.resume()
        assert driver.wait() == 0, driver.err
        assert "cannot be written" not in driver.err
        assert examine(victim, database=tmp_path / "server" / "server.db").broken == []
    finally:
        server.kill()
