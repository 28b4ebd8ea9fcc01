"""What was found: as a table for each scenario, as a list of the bars, and as JSON.

Invariant: a ratio is ours by the other's, of medians of the same run.
"""

import json

from scenarios import PEERS
from servers import LIMIT, OURS

# Key, heading, and how a figure is shown.
COLUMNS = (
    ("cpu_us", "CPU us/req", lambda value: f"{value:,.2f}" if value < 100 else f"{value:,.0f}"),
    ("p50_us", "p50 us", lambda value: f"{value:,.0f}"),
    ("p99_us", "p99 us", lambda value: f"{value:,.0f}"),
    ("p999_us", "p99.9 us", lambda value: f"{value:,.0f}"),
    ("cold_rate", "cold MB/s", lambda value: f"{value / 1e6:,.0f}"),
    ("bytes_a_connection", "bytes/conn", lambda value: f"{value:,.0f}"),
    ("idle_cpu_ms", "idle CPU ms", lambda value: f"{value:,.0f}"),
    ("start_ms", "start ms", lambda value: f"{value:,.1f}"),
    ("scale", "2 by 1", lambda value: f"{value:.2f}"),
    ("server_busy", "server busy", lambda value: f"{value:.0%}"),
    ("load_busy", "load busy", lambda value: f"{value:.0%}"),
)
# Of which the distance to each other server is shown.
COMPARED = (
    ("cpu_us", "CPU"),
    ("rate", "rate"),
    ("p99_us", "p99"),
    ("bytes_a_connection", "bytes"),
    ("start_ms", "start"),
)
# Above it the machine is not ours alone.
LOAD_AVERAGE_MAX = 0.5
NAME_OF_METRIC = {
    "cpu_us": "CPU", "rate": "rate", "p99_us": "p99", "bytes_a_connection": "bytes a connection",
    "idle_cpu_ms": "idle CPU ms", "start_ms": "start ms", "scale": "2 workers by 1",
}  # fmt: skip


def heading(about):
    machine = [f"Linux {about['kernel']}", about["processor"], f"{about['cores']} cores", about["memory"]]
    network = "a network namespace of its own" if about["namespace"] else "the host network"
    sets = ", small sets" if about["smoke"] else ""
    lines = [
        f"{about['time']}: {about['command']}",
        ", ".join([*machine, about["file_system"]]),
        f"TCP {about['congestion_control']}, {network}; "
        f"servers on core {about['server_core']}, load on core {about['load_core']}",
        f"{about['rounds']} rounds of {about['seconds']:g} s{sets}",
        ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    ]
    if about["load_average"] > LOAD_AVERAGE_MAX:
        busy = f"load average {about['load_average']:.2f} at the start"
        lines.append(f"WARNING: {busy}: others use this machine, figures are noise")
    if about["file_system"] == "tmpfs":
        lines.append("WARNING: the documents are on tmpfs: there is no disk in the figures")
    return "\n".join(lines) + "\n"


def table(work, found):
    """One scenario."""
    medians = {name: figures["median"] for name, figures in found.items() if "median" in figures}
    shown = [column for column in COLUMNS if any(median.get(column[0]) is not None for median in medians.values())]
    rates = any("rate" in median for median in medians.values())
    compared = [(key, title) for key, title in COMPARED if OURS in medians and medians[OURS].get(key)]
    ratios = [f"our {title} by its" for _, title in compared]
    rows = [["", *([work.unit] if rates else []), *(title for _, title, _ in shown), *ratios]]
    for name, figures in found.items():
        if name not in medians:
            rows.append([name, f"left out: {' '.join(figures['failed'].split())[:200]}"])
            continue
        median = medians[name]
        row = [name, *([rate_shown(work, median)] if rates else [])]
        row += [form(median[key]) if median.get(key) is not None else "" for key, _, form in shown]
        for key, _ in compared:
            comparable = name != OURS and median.get(key)
            row.append(f"{medians[OURS][key] / median[key]:.2f}" if comparable else "")
        rows.append(row)
    lines = [f"{work.name}: {work.work}"]
    commands = [median["command"] for median in medians.values()]
    lines += [f"    {commands[0]}"] if commands else []
    lines += aligned(rows)
    lines += [f"  {judged['text']}" for judged in judge(work, found)]
    return "\n".join(lines) + "\n"


def rate_shown(work, median):
    if "rate" not in median:
        return ""
    return f"{median['rate'] / 1e6:,.0f}" if work.unit == "MB/s" else f"{median['rate']:,.0f}"


def aligned(rows):
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in whole) for column in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append(f"  {row[0]:{widths[0]}}  " + ("  ".join(cells) if row in whole else row[1]))
    return lines


def judge(work, found):
    """Each bar: what was measured, and whether it is met."""
    medians = {name: figures["median"] for name, figures in found.items() if "median" in figures}
    judged = []
    for bar in work.bars:
        ours, name = medians.get(OURS, {}).get(bar.metric), NAME_OF_METRIC[bar.metric]
        against, theirs = reference(work, bar, medians)
        if ours is None or not theirs:
            value, met, text = None, None, f"bar: {name} {bar.sign} {bar.factor:g}: nothing to compare"
        else:
            value = ours / theirs
            met = value <= bar.factor if bar.sign == "<=" else value >= bar.factor
            of = f" x {against}'s" if against else ""
            verdict = "met" if met else "NOT MET"
            text = f"bar: {name} {bar.sign} {bar.factor:g}{of}: {value:.2f} {verdict}"
        judged.append({"metric": bar.metric, "sign": bar.sign, "factor": bar.factor, "against": against,
                       "value": value, "met": met, "text": text})  # fmt: skip
    if medians.get(OURS, {}).get("cpu_us") and medians.get(LIMIT, {}).get("cpu_us"):
        ratio = medians[OURS]["cpu_us"] / medians[LIMIT]["cpu_us"]
        judged.append({"metric": "cpu_us", "against": LIMIT, "value": ratio, "met": None,
                       "text": f"distance to the limit, a bare epoll loop: {ratio:.2f} x its CPU"})  # fmt: skip
    return judged


def reference(work, bar, medians):
    """What a bar is measured by: a name, and a figure."""
    if bar.against == "nothing":
        return None, 1
    if bar.against != "best":
        return bar.against, medians.get(bar.against, {}).get(bar.metric)
    name = best(work, bar.metric, medians)
    return name, medians[name][bar.metric] if name else None


def best(work, metric, medians):
    """The peer that is best in a metric, if there is any."""
    peers = [name for name in work.peers if name != LIMIT and medians.get(name, {}).get(metric) is not None]
    order = max if metric == "rate" else min
    return order(peers, key=lambda name: medians[name][metric], default=None)


def summary(scenarios, found):
    """All bars, one a line."""
    lines = ["bars"]
    for work in scenarios:
        texts = [judged["text"].removeprefix("bar: ") for judged in judge(work, found[work.name])]
        lines += [f"  {work.name:14} {text}" for text in texts]
    return "\n".join(lines) + "\n"


def write(file, about, scenarios, found):
    result = {"about": about, "peers": PEERS, "scenarios": {}}
    for work in scenarios:
        result["scenarios"][work.name] = {
            "work": work.work, "unit": work.unit, "connections": work.connections,
            "servers": found[work.name], "bars": judge(work, found[work.name]),
        }  # fmt: skip
    file.write_text(json.dumps(result, indent=1) + "\n")
