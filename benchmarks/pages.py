"""Write the tables of docs/benchmarks/ from the results in benchmarks/results/.

    python benchmarks/pages.py            # after a benchmark was run
    python benchmarks/pages.py --check    # exit 1 if a page does not say what its results say

Only what stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->`` is replaced.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "benchmarks"
BARS = {"grip_lost": (0.85, 0.33), "protective_stop": (0.85, 0.28)}
"""What was asked of PRO: gradient boosting's AUROC and AUPRC as known before (rounded)."""

Results = dict[str, Any]


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def interval(found: dict[str, Any] | None, digits: int = 3) -> str:
    """A value with its 95 % interval."""
    if found is None or found["value"] is None:
        return "-"
    if found["low"] is None:
        return number(found["value"], digits)
    return (
        f"{number(found['value'], digits)} "
        f"[{number(found['low'], digits)}, {number(found['high'], digits)}]"
    )


def ur3_scores(results: Results) -> str:
    """Mean over folds: the operator, every rival, the bar."""
    modes = list(results["operator"])
    head = ["model", *(f"{m} AUROC" if k == 0 else f"{m} AUPRC" for m in modes for k in (0, 1))]
    rows = []
    cells = []
    for mode in modes:
        found = results["operator"][mode]
        spread = found["sd"] or [None, None]
        cells += [f"**{number(found['mean'][k])}** ± {number(spread[k])}" for k in (0, 1)]
    rows.append([f"**PRO**, mean ± deviation of {results['protocol']['seeds']} seeds", *cells])
    for name, scores in results["rivals"].items():
        rows.append([name, *(number(scores[mode][k]) for mode in modes for k in (0, 1))])
    rows.append(["bar", *(number(BARS[mode][k], 2) for mode in modes for k in (0, 1))])
    return table(head, rows)


def ur3_verdict(results: Results) -> str:
    """Which of the four numbers lie above the best gradient boosting of the table."""
    lines = []
    for mode, found in results["operator"].items():
        for k, metric in enumerate(("AUROC", "AUPRC")):
            boosted = {
                name: scores[mode][k]
                for name, scores in results["rivals"].items()
                if name.startswith("gradient boosting")
            }
            best = max(boosted, key=lambda n: boosted[n])
            mine = found["mean"][k]
            strongest = max(boosted[best], BARS[mode][k])
            said = "above" if mine > strongest else "**below: missed**"
            lines.append(
                f"- {mode}, {metric}: {number(mine)}, {said} (best gradient boosting here: "
                f"{number(boosted[best])}, {best}; bar {BARS[mode][k]:.2f})"
            )
    return "\n".join(lines)


def ur3_events(results: Results) -> str:
    """Event metrics with intervals by episode, pooled over the folds, first seed."""
    keys = {
        "event_recall_1": ("event recall at 1 false alarm per hour", 2),
        "event_recall_6": ("event recall at 6 false alarms per hour", 2),
        "lead_median_6": ("median lead time at 6 per hour [s]", 1),
        "lead_p10_6": ("10th percentile of lead time [s]", 1),
        "risk_brier": ("Brier", 3),
        "risk_ece": ("expected calibration error", 3),
    }
    models = results["pooled_models"]
    rows = []
    for mode, metrics in results["pooled"].items():
        for key, (name, digits) in keys.items():
            rows.append([mode, name, *(interval(metrics[key].get(m), digits) for m in models)])
    return table(["fault", "metric", *models], rows)


def ur3_folds(results: Results) -> str:
    """Every fold of the first seed."""
    modes = list(results["operator"])
    rows = []
    for fold in range(results["protocol"]["blocks"]):
        cells = [
            number(results["operator"][m]["folds_of_seed_0"][fold][k])
            for m in modes
            for k in (0, 1)
        ]
        rows.append([str(fold + 1), *cells])
    head = ["block", *(f"{m} {s}" for m in modes for s in ("AUROC", "AUPRC"))]
    return table(head, rows)


def pickapp_grasp(results: Results) -> str:
    """Prediction from the grasp, mean and deviation over fold seeds."""
    rows = []
    for name, found in results["grasp"].items():
        spread = found["sd"] or [None, None]
        cells = [f"{number(found['mean'][k])} ± {number(spread[k])}" for k in (0, 1)]
        rows.append([f"**{name}**" if name == "PRO" else name, *cells])
    return table(["model", "AUROC", "AUPRC"], rows)


def pickapp_pick(results: Results) -> str:
    """How sure the operator is over the pick."""
    found = results["pick"]
    head = ["time since the PICK began [s]", *(f"{a:g}" for a in found["after_s"])]
    rows = [["picks that last so long", *(str(n) for n in found["picks_that_last"])]]
    for k, name in enumerate(("AUROC", "AUPRC")):
        rows.append([name, *(number(m[k]) for m in found["mean"])])
    return table(head, rows)


def latency(results: Results) -> str:
    """The figures beside their bars."""
    bars = results["targets"]
    rows = []
    names = {
        "operator": "a step of the operator",
        "operator_monitor_and_messages": "the same, with validity, alarm, reward and messages",
        "window_operator_monitor_and_messages": "the same, with the window built from samples",
    }
    for key, name in names.items():
        for q in ("p50", "p99"):
            bar = f"<= {bars[f'step_{q}_ms']:g}" if key == "operator" else ""
            rows.append(
                [f"{name}, {q} [ms]", number(results["step"][key][f"wall_{q}_ms"], 2), bar]
            )
    for key, name in (("replay", "the made-up bag"), ("replay_ur3", "the UR3 example")):
        found = results[key]["replay_over_deserialising"]
        low, high = found["cpu_range"]
        bar = f"<= {bars['replay_over_deserialising']:g}" if key == "replay" else ""
        rows.append(
            [
                f"replay over deserialising, {name}: CPU time, median of "
                f"{results[key]['repeats']} (range)",
                f"{found['cpu']:.2f} ({low:.2f} to {high:.2f})",
                bar,
            ]
        )
    for length, found in results["memory"].items():
        rows.append(
            [
                f"peak memory of replaying {length} [MiB]",
                f"{found['peak_mib']:.0f} ({found['before_mib']:.0f} before)",
                "independent of length",
            ]
        )
    return table(["measured", "value", "bar"], rows)


def scoring(results: Results) -> str:
    """Time by number of candidates, and what many cost over one."""
    bars = results["targets"]
    many = str(bars["many"])
    rows = []
    for kind in ("same_situation", "new_situation"):
        name = kind.replace("_", " ")
        for count, found in results[f"{kind}_ms"].items():
            bar = f"p99 <= {bars['many_p99_ms']:g}" if count == many else ""
            times = f"{number(found['p50'], 2)} / {number(found['p99'], 2)}"
            rows.append([f"{count} candidates, {name}, p50 / p99 [ms]", times, bar])
        ratio = results["many_over_one"][kind]
        rows.append([f"{many} over 1, {name}", number(ratio, 2), f"<= {bars['many_over_one']:g}"])
    step = results["step_ms"]
    times = f"{number(step['p50'], 2)} / {number(step['p99'], 2)}"
    rows.append(["beside it: a step, judged, p50 / p99 [ms]", times, ""])
    return table(["measured", "value", "bar"], rows)


def live(results: Results) -> str:
    """The monitor on live topics, from telemetry alone and with a camera."""
    runs = [results[name] for name in ("telemetry", "camera")]
    bars = results["targets"]
    rows = [
        ["run [s]", *(f"{results['seconds']:g}" for _ in runs), ""],
        [
            "valid assessments per second",
            *(number(run["valid_assessments"] / results["seconds"], 2) for run in runs),
            f"{bars['assessments_hz']:g}",
        ],
        ["missed or dropped", *(str(run["missed"]) for run in runs), "0"],
    ]
    for name, bar in (
        ("p50", f"<= {bars['latency_p50_ms']:g}"),
        (
            "p99",
            f"<= {bars['latency_p99_ms']:g}, with camera <= {bars['latency_p99_ms_camera']:g}",
        ),
        ("max", ""),
    ):
        cells = [number(run[f"latency_{name}_ms"], 2) for run in runs]
        rows.append([f"sample to risk, {name} [ms]", *cells, bar])
    for name, part in (
        ("its subscriptions", "subscriptions"),
        ("the operator's thread", "operator"),
        ("the bare node", "bare_node"),
    ):
        cells = [number(100 * run["cpu"][part], 1) for run in runs]
        rows.append([f"CPU of {name} [% of a core]", *cells, ""])
    rows.append(
        [
            "subscriptions over the bare node",
            *(number(run["subscription_cpu_ratio"], 2) for run in runs),
            f"<= {bars['subscription_cpu_ratio']:g}",
        ]
    )
    cells = [number(run["memory"]["slope_mib_per_hour"], 1) for run in runs]
    rows.append(["memory, slope of the second half [MiB/h]", *cells, "flat"])
    return table(["measured", "telemetry", "with camera", "bar"], rows)


def live_memory(results: Results) -> str:
    """An hour of simulated traffic."""
    found = results["memory"]
    rows = [
        ["simulated [h]", f"{found['hours']:g}"],
        ["messages", str(found["messages"])],
        ["assessments", str(found["assessments"])],
        ["memory at begin [MiB]", number(found["begin_mib"], 1)],
        ["memory at end [MiB]", number(found["end_mib"], 1)],
        ["slope of the second half [MiB/h]", number(found["slope_mib_per_hour"], 2)],
        ["it took [s]", number(found["seconds_taken"], 0)],
    ]
    return table(["measured", "value"], rows)


def gate_faults(results: Results) -> str:
    """What the fault schedules found."""
    machine = results["machine"]
    over = results["longest_over_bound_s"]
    rows = [
        ["schedules", str(results["schedules"]), "1,000, or as many as fit 10 minutes"],
        ["goals, attempts", f"{results['goals']}, {results['attempts']}", ""],
        ["violations", str(len(results["violations"])), "0"],
        ["most things that ran at once", str(results["most_live"]), "1"],
        [
            "longest that a goal took beyond its bound [s]",
            number(over, 2),
            "0, save for scheduling",
        ],
        ["took [min]", number(results["seconds"] / 60, 1), "10"],
        [
            "cores, load before, workers",
            f"{machine['cores']}, {machine['load_before']:.1f}, {machine['workers']}",
            "",
        ],
    ]
    return table(["measured", "value", "bar"], rows)


def counted(head: str, *keys: str) -> Callable[[Results], str]:
    """A table of how often each of something was met, most frequent first."""

    def write_counts(results: Results) -> str:
        rows = [[f"`{name}`", str(count)] for key in keys for name, count in results[key].items()]
        return table([head, "times"], rows)

    return write_counts


def gate_latency(results: Results) -> str:
    """Alarm to cancel, and overhead."""
    bars = results["targets"]
    rows = []
    alarm = results["alarm_to_cancel_ms"]
    for key, name in (("from_receipt", "receipt"), ("from_publication", "publication")):
        for q in ("p50", "p99", "max"):
            bar = f"<= {bars['alarm_to_cancel_p99_ms']:g}" if (key, q) == ROW_WITH_BAR else ""
            rows.append([f"alarm to cancel, from {name}, {q} [ms]", number(alarm[key][q], 2), bar])
    over = results["overhead"]
    rows += [
        ["alarms", str(alarm["count"]), ""],
        [f"overhead on a task of {over['task_s']:.1f} s [ms]", number(over["extra_ms"], 1), ""],
        [
            "the same, share of the task",
            f"{100 * over['share']:.2f} %",
            f"< {100 * bars['overhead_share']:g} %",
        ],
        ["tasks", str(over["tasks"]), ""],
        ["load of the machine before", number(results["machine"]["load_before"], 1), ""],
    ]
    return table(["measured", "value", "bar"], rows)


ROW_WITH_BAR = ("from_receipt", "p99")


def share_of(found: Results) -> str:
    """A count, its share, and the interval of the share in percent."""
    said = f"{found['count']} of {found['of']}"
    if found["value"] is None:
        return said
    percent = {k: None if found[k] is None else 100 * found[k] for k in ("value", "low", "high")}
    return f"{said}: {interval(percent, 0)} %"


def gate_settings(dataset: str) -> Callable[[Results], str]:
    """What the gate does to held-out attempts at each setting, the operator first."""

    def render(results: Results) -> str:
        found = results.get(dataset)
        if found is None:
            return "Not run: the recordings were not there."
        per_hour = dataset == "ur3"
        rows = []
        for share in found["protocol"]["shares"]:
            for model, numbers in found["settings"][f"{share:g}"].items():
                stops = numbers["stops_per_hour" if per_hour else "stops_per_100_attempts"]
                rows.append(
                    [
                        f"{100 * share:g} %",
                        f"**{model}**" if model == "PRO" else model,
                        share_of(numbers["good_interrupted"]),
                        share_of(numbers["failures_in_time"]),
                        str(numbers["failures_stopped_late"]),
                        interval(numbers["lead_median_s"], 1),
                        interval(numbers["lead_p10_s"], 1),
                        number(stops, 1),
                    ]
                )
        stops = "stops per hour" if per_hour else "stops per 100 picks"
        return table(
            [
                "asked", "the gate reads", "good attempts interrupted",
                "failures stopped in time", "… too late", "lead, median [s]",
                "lead, 10th percentile [s]", stops,
            ],
            rows,
        )  # fmt: skip

    return render


def gate_matched(dataset: str) -> Callable[[Results], str]:
    """Failures stopped in time where every model interrupts as many good attempts."""

    def render(results: Results) -> str:
        found = results.get(dataset)
        if found is None:
            return "Not run: the recordings were not there."
        shares = found["protocol"]["shares"]
        at = [found["settings"][f"{share:g} matched"] for share in shares]
        rows = [
            [
                f"**{model}**" if model == "PRO" else model,
                *(share_of(numbers[model]["failures_in_time"]) for numbers in at),
            ]
            for model in at[0]
        ]
        most = [numbers["PRO"]["good_interrupted"] for numbers in at]
        return table(
            ["the gate reads", *(f"{m['count']} of {m['of']} interrupted" for m in most)], rows
        )

    return render


def gate_modes(results: Results) -> str:
    """Failures stopped in time by their first event, chosen on the training side."""
    found = results["ur3"]
    rows = []
    for share in found["protocol"]["shares"]:
        for model, numbers in found["settings"][f"{share:g}"].items():
            name = f"**{model}**" if model == "PRO" else model
            rows.append([f"{100 * share:g} %", name, *map(share_of, numbers["by_mode"].values())])
    modes = next(iter(found["settings"].values()))["PRO"]["by_mode"]
    return table(["asked", "the gate reads", *(f"first event {m}" for m in modes)], rows)


def gate_ending(results: Results) -> str:
    """The default rule for a predicted end, in one line."""
    numbers = results["ur3"]["settings"]["default ending"]["PRO"]
    return (
        f"Failures stopped in time: {share_of(numbers['failures_in_time'])}; "
        f"good attempts interrupted: {share_of(numbers['good_interrupted'])}."
    )


def loop_statistics(results: Results) -> Any:
    """The closed loop's results as their own module computes with them."""
    from pro_ros.cell.results import ClosedLoop
    from pro_ros.cell.statistics import Statistics

    found = ClosedLoop.model_validate(results)
    return found, Statistics(found)


def in_percent(found: Any, share: bool) -> str:
    """A number of the closed loop with its interval, shares in percent."""
    scale, digits = (100.0, 1) if share else (1.0, 2)
    if found.value is None:
        return "-"
    ends = "" if found.low is None else (
        f" [{found.low * scale:.{digits}f}, {found.high * scale:.{digits}f}]"
    )  # fmt: skip
    return f"{found.value * scale:.{digits}f}{ends}"


def loop_variants(results: Results) -> str:
    """Every variant with every number."""
    from pro_ros.cell.statistics import DEFINITIONS

    found, statistics = loop_statistics(results)
    metrics = [m for m in DEFINITIONS if m != "recovery_own"]
    head = ["variant"] + [
        f"{DEFINITIONS[m].label}{' [' + DEFINITIONS[m].unit + ']' if DEFINITIONS[m].unit else ''}"
        for m in metrics
    ]
    rows = []
    for v in found.variants:
        numbers = [statistics.number(v.key, m) for m in metrics]
        cells = [
            in_percent(n, DEFINITIONS[m].unit == "%")
            for m, n in zip(metrics, numbers, strict=True)
        ]
        name = f"({v.letter}) {v.name}"
        rows.append([f"**{name}**" if v.ours else name, *cells])
    stops = []
    for v in found.variants:
        stopped, fell, retries = statistics.false_stops(v.key)
        if stopped:
            stops.append(f"({v.letter}) {fell} of {stopped}, with {retries} retries")
    return table(head, rows) + (
        "\n\nFalse stops at which the item falls when nobody stops the attempt, and comes to lie "
        f"where it should all the same: {'; '.join(stops)}."
    )


def loop_verdicts(results: Results) -> str:
    """What was asked of each comparison, and what came out."""
    found, statistics = loop_statistics(results)
    rows = []
    for comparison in found.comparisons:
        new, old = found.variant(comparison.new), found.variant(comparison.old)
        for v in statistics.compared(comparison).verdicts:
            share = v.bar.kind == "relative" or v.bar.metric in ("success", "recovery")
            rows.append([
                f"({new.letter}) against ({old.letter})",
                v.bar.words,
                in_percent(v.found, share) + (" %" if share else ""),
                "-" if v.met is None else ("met" if v.met else "**missed**")
                + ("" if v.sure else ", the interval reaches across"),
            ])  # fmt: skip
    return table(["compared", "asked", "found", "verdict"], rows)


def loop_risk(results: Results) -> str:
    """How early, and how often."""
    found, _ = loop_statistics(results)
    head = ["a drop within", "who looks on", "false alarms per hour", "recall of drops",
            "median lead [s]", "10th percentile [s]"]  # fmt: skip
    rows = []
    for curve in found.risk:
        for p in curve.points:
            rows.append([
                f"{curve.horizon:g} s",
                f"**{curve.name}**" if curve.name == "PRO" else curve.name,
                f"{p.rate:.1f} (at most {p.asked:g})",
                in_percent(p.recall, False), in_percent(p.lead_median, False),
                in_percent(p.lead_p10, False),
            ])  # fmt: skip
    counts = ", ".join(f"{c.events} drops in {c.hours:.2f} h" for c in found.risk[:1])
    return table(head, rows) + f"\n\nJudged on {counts} of attempts that nobody stops."


def loop_parts(results: Results) -> str:
    """Success and recovery by site and by whether training knew the item."""
    from pro_ros.cell.results import ClosedLoop
    from pro_ros.cell.statistics import by_novelty, by_site

    found = ClosedLoop.model_validate(results)
    keys = [v for v in found.variants if v.key in ("plain", "outcome", "gate", "scored")]
    head = ["tasks", "number"] + [
        f"({v.letter}) {what}" for v in keys for what in ("success [%]", "retries")
    ]
    rows = []
    for part, statistics in {**by_site(found), **by_novelty(found)}.items():
        cells = [
            in_percent(statistics.number(v.key, metric), metric == "success")
            for v in keys
            for metric in ("success", "retries")
        ]
        rows.append([part, str(len(statistics.tasks("plain"))), *cells])
    return table(head, rows)


def cell_speed(results: Results) -> str:
    """How fast the cell runs."""
    head = ["run", "tasks", "times real time", "tasks in ten minutes", "bar"]
    bars = {"one core, nothing recorded": "20 times", "all cores, recorded": "1,000 tasks"}
    rows = [
        [name, str(found["tasks"]), number(found["times_real_time"], 1),
         str(found["tasks_in_ten_minutes"]), bars.get(name, "")]
        for name, found in results.items()
        if isinstance(found, dict)
    ]  # fmt: skip
    return table(head, rows) + (
        f"\n\n{results['cores']} cores, MuJoCo {results['mujoco']}, load before "
        f"{results['load_before']}."
    )


def loop_setup(results: Results) -> str:
    """On what it was run."""
    setup = results["setup"]
    rows = [
        ["judged at", ", ".join(setup["sites"])],
        ["items that training did not see", ", ".join(setup["held_out_items"])],
        ["seeds per site", f"{setup['seeds'][0]} to {setup['seeds'][1]}"],
        ["trained on", setup["trained_on"]],
        ["model", f"`{setup['model_id']}`"],
        ["simulated for judging [h]", number(setup["simulated_hours"], 1)],
        ["took [min], cores", f"{setup['wall_s'] / 60:.0f}, {setup['cores']}"],
    ]
    rows += [["note", note] for note in setup["notes"]]
    return table(["", ""], rows)


BLOCKS: dict[str, tuple[str, str, Callable[[Results], str]]] = {
    "ur3-scores": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_scores),
    "ur3-verdict": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_verdict),
    "ur3-events": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_events),
    "ur3-folds": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_folds),
    "pickapp-grasp": ("pickapp.md", "pickapp.json", pickapp_grasp),
    "pickapp-pick": ("pickapp.md", "pickapp.json", pickapp_pick),
    "gate-faults": ("gate.md", "gate_faults.json", gate_faults),
    "gate-reasons": ("gate.md", "gate_faults.json", counted("reason", "reasons")),
    "gate-events": (
        "gate.md",
        "gate_faults.json",
        counted("event or behaviour", "faults", "behaviours"),
    ),
    "gate-latency": ("gate.md", "gate_latency.json", gate_latency),
    "latency": ("latency.md", "latency.json", latency),
    "live": ("live.md", "live.json", live),
    "live-memory": ("live.md", "live.json", live_memory),
    "cell-speed": ("closed_loop.md", "cell_speed.json", cell_speed),
    "loop-setup": ("closed_loop.md", "closed_loop.json", loop_setup),
    "loop-variants": ("closed_loop.md", "closed_loop.json", loop_variants),
    "loop-verdicts": ("closed_loop.md", "closed_loop.json", loop_verdicts),
    "loop-risk": ("closed_loop.md", "closed_loop.json", loop_risk),
    "loop-parts": ("closed_loop.md", "closed_loop.json", loop_parts),
    "scoring": ("scoring.md", "scoring.json", scoring),
    "gate-ur3": ("gate_recordings.md", "gate_recordings.json", gate_settings("ur3")),
    "gate-ur3-modes": ("gate_recordings.md", "gate_recordings.json", gate_modes),
    "gate-ur3-matched": ("gate_recordings.md", "gate_recordings.json", gate_matched("ur3")),
    "gate-ur3-ending": ("gate_recordings.md", "gate_recordings.json", gate_ending),
    "gate-picks": ("gate_recordings.md", "gate_recordings.json", gate_settings("pickapp")),
    "gate-picks-matched": ("gate_recordings.md", "gate_recordings.json", gate_matched("pickapp")),
}
"""Block name -> page, results file, what writes it."""


def write(text: str, name: str, block: str) -> str:
    """``text`` with one block replaced."""
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no block '{name}' in its page")
    return pattern.sub(lambda m: f"{m[1]}\n{block}\n\n{m[2]}", text)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    args = parser.parse_args()
    pages: dict[str, str] = {}
    for name, (page, results, render) in BLOCKS.items():
        found = json.loads((HERE / "results" / results).read_text(encoding="utf-8"))
        text = pages.get(page) or (PAGES / page).read_text(encoding="utf-8")
        pages[page] = write(text, name, render(found))
    stale = [p for p, text in pages.items() if (PAGES / p).read_text(encoding="utf-8") != text]
    if args.check:
        if stale:
            sys.exit(f"run benchmarks/pages.py: {', '.join(stale)} differ from the results")
        return
    for page in stale:
        (PAGES / page).write_text(pages[page], encoding="utf-8")
        print(f"wrote docs/benchmarks/{page}")


if __name__ == "__main__":
    main()
