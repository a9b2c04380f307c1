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


BLOCKS: dict[str, tuple[str, str, Callable[[Results], str]]] = {
    "ur3-scores": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_scores),
    "ur3-verdict": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_verdict),
    "ur3-events": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_events),
    "ur3-folds": ("ur3_cobotops.md", "ur3_cobotops.json", ur3_folds),
    "pickapp-grasp": ("pickapp.md", "pickapp.json", pickapp_grasp),
    "pickapp-pick": ("pickapp.md", "pickapp.json", pickapp_pick),
    "latency": ("latency.md", "latency.json", latency),
    "live": ("live.md", "live.json", live),
    "live-memory": ("live.md", "live.json", live_memory),
    "scoring": ("scoring.md", "scoring.json", scoring),
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
