"""How fast the demonstration cell runs: times real time on one core, tasks in ten minutes.

    python benchmarks/cell_speed.py          # a minute or two on a quiet machine
    python benchmarks/cell_speed.py --quick

Writes benchmarks/results/cell_speed.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pro_ros.cell.catalogue import load_catalogue
from pro_ros.cell.fleet import FleetRequest, run_fleet
from pro_ros.cell.request import mujoco_version
from pro_ros.files import atomic_file
from pro_ros.gate.config import load_gate_config
from pro_ros.paths import share_file
from pro_ros.workers import cores

RESULTS = Path(__file__).resolve().parent / "results" / "cell_speed.json"
SEED = 700_000


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few tasks, nothing is written")
    quick = parser.parse_args().quick
    catalogue, gate = load_catalogue(), load_gate_config(share_file("config/cell/gate.yaml"))
    tasks = 1 if quick else 15
    found = {"mujoco": mujoco_version(), "machine": platform.machine(), "cores": cores(),
             "load_before": round(os.getloadavg()[0], 1)}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, record, jobs in (
            ("one core, nothing recorded", False, 1),
            ("one core, recorded", True, 1),
            ("all cores, recorded", True, cores()),
        ):
            request = FleetRequest(
                catalogue, gate, Path(folder) / name.replace(" ", "_"),
                catalogue.training_sites(), tasks, SEED, record=record, jobs=jobs,
            )  # fmt: skip
            fleet = run_fleet(request)
            simulated = sum(r.duration for r in fleet.results)
            found[name] = {
                "tasks": len(fleet.results),
                "attempts": sum(len(r.attempts) for r in fleet.results),
                "times_real_time": round(simulated / fleet.elapsed, 1),
                "tasks_in_ten_minutes": round(600.0 * len(fleet.results) / fleet.elapsed),
            }
            print(name, found[name], flush=True)
    if not quick:
        with atomic_file(RESULTS) as staged:
            staged.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
