"""The closed loop: a fleet's data train PRO, and PRO's gate is judged at sites it never saw.

    python benchmarks/closed_loop.py                 # everything; goes on where it was ended
    python benchmarks/closed_loop.py --quick         # a few tasks: does it run?

1. Cells at the sites that are not held out run tasks, with two versions of the policy; each task
   is a bag.
2. ``pro-ros import`` and ``pro-ros train`` make a checkpoint of these bags, and of nothing else.
3. Where the thresholds of the rival and of the gate lie is chosen at the same sites, on new tasks.
4. At the held-out sites, with held-out items among the others, every variant runs the same tasks.
5. There the plain policy runs once more while PRO and the rival look on: how early, how often.

Results: benchmarks/results/closed_loop.json, and the page docs/benchmarks/closed_loop.html with
films of chosen tasks. ``benchmarks/pages.py`` writes the tables of closed_loop.md from the former.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pro_ros.cell import foresight
from pro_ros.cell.catalogue import Catalogue, load_catalogue
from pro_ros.cell.cell import DivergedError
from pro_ros.cell.chosen import choose
from pro_ros.cell.film import film
from pro_ros.cell.fleet import FleetRequest, Job, Watch, run_fleet
from pro_ros.cell.foresight import (
    Bystanders,
    Onlooker,
    ProLooks,
    Track,
    VacuumLooks,
    risk_curve,
)
from pro_ros.cell.journal import read_results
from pro_ros.cell.judge import DROP
from pro_ros.cell.loop import TaskResult, TaskRun
from pro_ros.cell.report import write_report
from pro_ros.cell.request import gate_of, items_of
from pro_ros.cell.results import (
    GATE_BARS,
    SCORING_BARS,
    ClosedLoop,
    Comparison,
    RiskBar,
    RiskCurve,
    Setup,
    Variant,
    write_json,
)
from pro_ros.cell.rows import Film, task_rows
from pro_ros.cell.tasks import draw_task
from pro_ros.cell.watchers import Pro
from pro_ros.cli import import_, train
from pro_ros.files import atomic_file
from pro_ros.gate.config import GateConfig, load_gate_config
from pro_ros.model.checkpoint import Checkpoint, load_checkpoint
from pro_ros.paths import share_file
from pro_ros.runtime.scoring import ScoringSettings
from pro_ros.workers import cores, work_on

HERE = Path(__file__).resolve().parent
SHIPPED = "examples/cell/checkpoint"
RESULTS = HERE / "results" / "closed_loop.json"
PAGE = HERE.parent / "docs" / "benchmarks" / "closed_loop.html"

FLEET_SEED, TUNING_SEED, JUDGED_SEED = 0, 200_000, 600_000
"""First seeds of the three parts: no task is in two of them."""

DEPTHS = (16_000.0, 20_000.0, 25_000.0)
"""Thresholds of the vacuum to choose from [Pa]."""

SCORES = ("calibrated", 0.7, 0.8, 0.85, 0.9, 0.94, 0.97)
"""Thresholds of PRO's risk to choose from."""

RISK_WEIGHT = 1.0
"""Lambda of action scoring."""

RETRY_COST = 0.1
"""What a retry costs when a threshold is chosen [successes]."""

CANDIDATES = 8
HORIZONS = (2.0, 4.0)
"""An onlooker claims a drop within so long, and PRO's risk is that within so long [s]. The longer
one is the longest that PRO states, and about as long as an item is held."""

PRO, RIVAL = "PRO", "vacuum threshold"
"""Who looks on."""

NEVER = 1.0
"""A threshold that no risk reaches."""


@dataclass(frozen=True)
class Size:
    """How many tasks per site."""

    fleet: int
    tuning: int
    judged: int
    watched: int
    films: int


FULL = Size(fleet=480, tuning=30, judged=150, watched=400, films=6)
QUICK = Size(fleet=0, tuning=1, judged=1, watched=1, films=1)
"""Without a fleet the checkpoint that ships is judged."""


@dataclass(frozen=True)
class Bench:
    """What all parts share."""

    work: Path
    size: Size
    jobs: int
    catalogue: Catalogue
    gate: GateConfig

    @property
    def checkpoint(self) -> Path:
        """Where training leaves it."""
        return self.work / "checkpoint" if self.size.fleet else share_file(SHIPPED)

    def fleet(self, name: str, request: FleetRequest) -> tuple[TaskResult, ...]:
        """Run tasks, or read those that were run before."""
        print(f"{time.strftime('%H:%M:%S')}  {name}", flush=True)
        return run_fleet(replace(request, out=self.work / name, jobs=self.jobs)).results

    def tuning(self, watch: Watch, gate: GateConfig | None = None) -> FleetRequest:
        """New tasks at the sites of the fleet."""
        return FleetRequest(
            self.catalogue, gate or self.gate, self.work, self.catalogue.training_sites(),
            self.size.tuning, TUNING_SEED, watch=watch, record=False,
        )  # fmt: skip

    def judged(self, watch: Watch, gate: GateConfig | None = None) -> FleetRequest:
        """Tasks at the held-out sites, with all of their items."""
        return FleetRequest(
            self.catalogue, gate or self.gate, self.work, self.catalogue.held_out.sites,
            self.size.judged, JUDGED_SEED, held_out=True, watch=watch, record=False,
        )  # fmt: skip


def with_threshold(gate: GateConfig, threshold: str | float) -> GateConfig:
    """The gate file with another alarm threshold."""
    alarm = gate.alarm.model_copy(update={"threshold": threshold})
    return gate.model_copy(update={"alarm": alarm})


# 1 and 2: data and checkpoint


def learn(bench: Bench) -> Checkpoint:
    """Run the fleet, import its bags, train."""
    if not bench.checkpoint.exists():
        bags, dataset = bench.work / "fleet", bench.work / "dataset"
        bench.fleet(
            "fleet",
            FleetRequest(
                bench.catalogue, bench.gate, bench.work, bench.catalogue.training_sites(),
                bench.size.fleet, FLEET_SEED, care="half",
            ),
        )  # fmt: skip
        print(f"{time.strftime('%H:%M:%S')}  import and train", flush=True)
        sources = sorted(p for p in bags.glob("*/*") if p.is_dir())
        import_.command(
            sources, share_file("config/cell/streams.yaml"), dataset, "cell",
            outcomes=bags / "groups.csv", overwrite=True,
        )  # fmt: skip
        train.command(dataset, bench.checkpoint, share_file("config/cell/training.yaml"))
    return load_checkpoint(bench.checkpoint)


# 3: what is chosen


@dataclass(frozen=True)
class Chosen:
    """What was chosen at the sites of the fleet."""

    depth: float
    threshold: str | float


def worth(results: Sequence[TaskResult]) -> float:
    """What is maximised: successes less what retries cost."""
    return sum(r.success - RETRY_COST * r.retries for r in results) / len(results)


def choose_settings(bench: Bench) -> Chosen:
    """Choose the rival's threshold and the gate's."""
    found = {}
    for depth in DEPTHS:
        name = f"tuning_depth_{depth:.0f}"
        found[depth] = worth(bench.fleet(name, bench.tuning(Watch(threshold=depth))))
    depth = max(found, key=lambda d: found[d])
    print("  worth by depth:", {f"{d:.0f}": round(w, 3) for d, w in found.items()})

    watch = Watch(checkpoint=bench.checkpoint)
    risks: dict[str | float, float] = {}
    for score in SCORES:
        request = bench.tuning(watch, with_threshold(bench.gate, score))
        risks[score] = worth(bench.fleet(f"tuning_risk_{score}", request))
    threshold = max(risks, key=lambda s: risks[s])
    print("  worth by threshold of the risk:", {str(s): round(w, 3) for s, w in risks.items()})
    return Chosen(depth, threshold)


def scoring_watch(bench: Bench) -> Watch:
    """PRO chooses among the candidates, too."""
    settings = ScoringSettings(risk_weight=RISK_WEIGHT)
    return Watch(checkpoint=bench.checkpoint, scoring=settings, candidates=CANDIDATES)


# 4: the variants


@dataclass(frozen=True)
class Way:
    """A variant and how its tasks are run."""

    variant: Variant
    request: FleetRequest


def ways(bench: Bench, chosen: Chosen) -> list[Way]:
    """All variants, without tasks yet."""
    nobody, pro = Watch(), Watch(checkpoint=bench.checkpoint)
    scored = scoring_watch(bench)
    gate = with_threshold(bench.gate, chosen.threshold)
    where = "the calibrated one" if chosen.threshold == "calibrated" else f"{chosen.threshold}"
    plain = replace(bench.judged(nobody), attempts=1)
    described = [
        ("plain", "a", "plain policy", "One attempt, and nobody watches.", False, "", plain),
        ("outcome", "b", "outcome only",
         "A failure is noticed at the end of the attempt. The policy recovers and tries again.",
         False, "", bench.judged(nobody)),
        ("careful", "b+", "outcome only, careful",
         "The same, and after a failure the policy moves slowly and looks anew, whatever failed.",
         False, "", replace(bench.judged(nobody), care="all")),
        ("threshold", "c", "vacuum threshold",
         f"The gate stops when the vacuum stays below {chosen.depth / 1000:g} kPa for 60 ms while "
         "something is held; chosen at the sites of the training.",
         False, "", bench.judged(Watch(threshold=chosen.depth))),
        ("gate", "d", "PRO gate",
         f"The gate stops at PRO's risk threshold ({where}); the policy is told which failure.",
         True, "", bench.judged(pro, gate)),
        ("scored_alone", "e-", "action scoring alone",
         f"PRO chooses among {CANDIDATES} candidate chunks; one attempt, and nobody stops it.",
         True, "", replace(bench.judged(scored, with_threshold(bench.gate, NEVER)), attempts=1)),
        ("scored", "e", "PRO gate and action scoring",
         f"The gate as in (d), and PRO chooses among {CANDIDATES} candidate chunks.",
         True, "scored_alone", bench.judged(scored, gate)),
    ]  # fmt: skip
    return [
        Way(
            Variant(key=key, letter=letter, name=name, about=about, ours=ours,
                    reference=reference, tasks=()),
            request,
        )
        for key, letter, name, about, ours, reference, request in described
    ]  # fmt: skip


def run_ways(bench: Bench, found: Iterable[Way]) -> tuple[Variant, ...]:
    """Every variant on the same tasks."""
    variants = []
    for way in found:
        results = bench.fleet(f"judged_{way.variant.key}", way.request)
        variants.append(way.variant.model_copy(update={"tasks": task_rows(results)}))
    return tuple(variants)


# 5: foresight


@dataclass(frozen=True)
class LookOn:
    """The plain policy, with PRO and the rival looking on; goes to the processes as it is."""

    request: FleetRequest
    checkpoint: Path

    def __call__(self, job: Job) -> dict[str, list[Track]]:
        """Tracks of a task."""
        asked = self.request
        checkpoint = _checkpoint(self.checkpoint)
        onlookers: dict[str, Onlooker] = {
            f"{PRO} {horizon:g}": ProLooks(Pro(checkpoint), DROP, horizon) for horizon in HORIZONS
        }
        looking = Bystanders({**onlookers, RIVAL: VacuumLooks()})
        task = draw_task(asked.catalogue, job.site, job.seed, items_of(asked, job.site))
        try:
            TaskRun(asked.catalogue, task, gate_of(asked), looking).run()
        except DivergedError:
            return {}
        return looking.tracks


@lru_cache(maxsize=1)
def _checkpoint(path: Path) -> Checkpoint:
    return load_checkpoint(path)


def foresee(bench: Bench) -> tuple[RiskCurve, ...]:
    """Recall of drops over false alarms, of PRO and of the rival, on the same attempts."""
    print(f"{time.strftime('%H:%M:%S')}  foresight", flush=True)
    request = replace(bench.judged(Watch()), attempts=1)
    seeds = range(JUDGED_SEED, JUDGED_SEED + bench.size.watched)
    jobs = [Job(site, seed) for site in request.sites for seed in seeds]
    done = dict(work_on(jobs, LookOn(request, bench.checkpoint), bench.jobs or cores()))

    def curve(name: str, onlooker: str, horizon: float) -> RiskCurve:
        # In the order of the tasks, not in that in which they were done.
        tracks = [t for job in jobs for t in done[job].get(onlooker, [])]
        return risk_curve(name, tracks, DROP, horizon, asked=foresight.ASKED)

    return tuple(
        curve(name, onlooker, horizon)
        for horizon in HORIZONS
        for name, onlooker in ((PRO, f"{PRO} {horizon:g}"), (RIVAL, RIVAL))
    )


# The page


def films(bench: Bench, results: ClosedLoop, requests: dict[str, FleetRequest],
          depth: float) -> tuple[Film, ...]:  # fmt: skip
    """Films of tasks in which something different happens each."""
    print(f"{time.strftime('%H:%M:%S')}  films", flush=True)
    made = []
    for choice in choose(results, "gate", "outcome", bench.size.films):
        for key in choice.variants:
            request = requests[key]
            task = draw_task(
                request.catalogue, choice.site, choice.seed, items_of(request, choice.site)
            )
            made.append(
                film(
                    request.catalogue, task, gate_of(request), request.watch.make(), key,
                    candidates=request.watch.candidates, title=choice.why,
                    vacuum_threshold=depth if key == "threshold" else None,
                )
            )  # fmt: skip
    return tuple(made)


def _timed(work: Path, run: Callable[[], ClosedLoop]) -> ClosedLoop:
    """Add the time of this run to that of those that were ended before."""
    clock = work / "wall.json"
    before = json.loads(clock.read_text())["s"] if clock.exists() else 0.0
    begun = time.perf_counter()
    try:
        results = run()
    finally:
        spent = before + time.perf_counter() - begun
        with atomic_file(clock) as staged:
            staged.write_text(json.dumps({"s": spent}))
    setup = results.setup.model_copy(update={"wall_s": round(spent), "cores": cores()})
    return results.model_copy(update={"setup": setup})


def trained_on(bench: Bench) -> str:
    """What the checkpoint learnt from, in words."""
    if not bench.size.fleet:
        return "the checkpoint that ships"
    fleet = read_results(bench.work / "fleet" / "tasks.jsonl")
    attempts = sum(len(r.attempts) for r in fleet)
    sites = len(bench.catalogue.training_sites())
    return f"{attempts} attempts at {len(fleet)} tasks of {sites} other sites"


def run(bench: Bench) -> ClosedLoop:
    """All parts in their order."""
    checkpoint = learn(bench)
    chosen = choose_settings(bench)
    print("chosen:", chosen)
    found = ways(bench, chosen)
    variants = run_ways(bench, found)
    curves = foresee(bench)
    sites = bench.catalogue.held_out.sites
    results = ClosedLoop(
        setup=Setup(
            sites=sites,
            held_out_items=bench.catalogue.held_out.items,
            seeds=(JUDGED_SEED, JUDGED_SEED + bench.size.judged - 1),
            model_id=checkpoint.model_id,
            trained_on=trained_on(bench),
            command="python benchmarks/closed_loop.py",
            simulated_hours=round(sum(t.duration for v in variants for t in v.tasks) / 3600, 2),
        ),
        variants=variants,
        comparisons=(
            Comparison(new="gate", old="outcome", bars=GATE_BARS),
            Comparison(new="scored", old="gate", bars=SCORING_BARS, need="any"),
        ),
        risk=curves,
        risk_bars=tuple(
            RiskBar(name=PRO, target=DROP, horizon=horizon, asked=6.0, recall=0.8)
            for horizon in HORIZONS
        ),
    )
    requests = {way.variant.key: way.request for way in found}
    return results.model_copy(update={"films": films(bench, results, requests, chosen.depth)})


def main() -> None:
    """Run the benchmark and write its results and its page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("closed_loop"),
                        help="folder for what is made on the way")  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few tasks, with the checkpoint that ships; nothing in the docs",
    )
    parser.add_argument("--jobs", type=int, default=0, help="processes; default: one per core")
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    asked = parser.parse_args()
    if asked.fresh:
        shutil.rmtree(asked.work, ignore_errors=True)
    asked.work.mkdir(parents=True, exist_ok=True)
    # The threshold in the file is the one that was chosen here before.
    gate = with_threshold(load_gate_config(share_file("config/cell/gate.yaml")), "calibrated")
    size = QUICK if asked.quick else FULL
    bench = Bench(asked.work, size, asked.jobs, load_catalogue(), gate)
    results = _timed(asked.work, lambda: run(bench))
    page = asked.work / "report.html" if asked.quick else PAGE
    write_report(results, page)
    out = asked.work / "closed_loop.json" if asked.quick else RESULTS
    write_json(results.model_copy(update={"films": ()}), out)
    print(f"wrote {out} and {page}")


if __name__ == "__main__":
    main()
