"""The bar charts of ./margay bench --plot: figures of tests/bench/history, with others' beside them."""

import dataclasses
import html
import json

import bench
import common

HISTORY = common.ROOT / "tests" / "bench" / "history"
# What is compared, with a reader's name for it.
COSTS = {
    "ipc_round_trip_0w": "IPC round trip, no words",
    "ipc_round_trip_4w": "IPC round trip, 4 words",
    "ipc_round_trip_64w": "IPC round trip, 64 words",
    "exit_port_write": "a guest's port write",
    "exit_mmio_write": "a guest's MMIO write",
    "exit_lapic_read": "a guest reads its local APIC",
    "exit_hypercall": "a guest's hypercall",
    "exit_cpuid": "a guest's CPUID",
}
NATIVE = {
    "native_hpl_ratio": "HPL",
    "native_dgemm_ratio": "DGEMM",
    "native_fft_ratio": "FFT",
    "native_stream_triad_ratio": "STREAM triad",
    "native_random_access_ratio": "RandomAccess",
    "native_getppid_ratio": "getppid",
    "native_page_fault_ratio": "page fault",
    "native_fork_ratio": "fork",
    "native_exec_ratio": "exec",
    "native_pipe_ratio": "pipe",
    "native_context_switch_ratio": "context switch",
}
OURS = "Margay"

WIDTH, MARGIN, NAME_WIDTH, WHO_WIDTH, VALUE_WIDTH = 820, 16, 220, 180, 70
BAR_HEIGHT, BAR_GAP, GROUP_GAP, HEAD_HEIGHT = 14, 3, 10, 52


@dataclasses.dataclass
class Bar:
    who: str  # empty: there is nobody else
    value: float


def latest(directory=HISTORY):
    """The newest value of each figure: a day's file has what was measured on that day."""
    values = {}
    for file in sorted(directory.glob("*.json")):
        for key, figure in json.loads(file.read_text())["figures"].items():
            values[key] = figure["value"]
    if not values:
        raise common.Failure(f"{directory}: no figures there")
    return values


def peers(others):
    """What bench.TARGETS says of others: "NOVA 282, seL4 407" is two bars."""
    found, name = [], []
    for part in others.split(", ") if others else ():
        text, _, number = part.rpartition(" ")
        if not number.replace(".", "", 1).isdigit():
            name.append(part)
            continue
        found.append(Bar(", ".join([*name, text] if text else name), float(number)))
        name = []
    return found


def costs(values):
    """The groups of the chart of costs: name and bars, ours first."""
    return [(name, [Bar(OURS, values[key]), *peers(bench.TARGETS[key][2])]) for key, name in COSTS.items() if key in values]


def ratios(values):
    return [(name, [Bar("", values[key])]) for key, name in NATIVE.items() if key in values]


def _number(value):
    return f"{value:.4f}" if value < 10 else f"{value:,.0f}".replace(",", " ")


def draw(title, what, groups, full=None):
    """A chart as SVG. groups: (name, bars). full: the value of the longest bar there may be; None: the largest one."""
    if not groups:
        raise common.Failure(f"{title}: none of its figures has been measured")
    all_bars = [bar for _, bars in groups for bar in bars]
    full = full or max(bar.value for bar in all_bars)
    left = MARGIN + NAME_WIDTH + (WHO_WIDTH if any(bar.who for bar in all_bars) else 0)
    longest = WIDTH - MARGIN - VALUE_WIDTH - left
    rows, y = [], HEAD_HEIGHT
    for name, bars in groups:
        rows.append(f'<text x="{MARGIN}" y="{y + 11}">{html.escape(name)}</text>')
        for bar in bars:
            kind = "ours" if bar.who in ("", OURS) else "other"
            width = max(1, round(longest * bar.value / full, 1))
            rows.append(f'<text class="who" x="{left - 8}" y="{y + 11}">{html.escape(bar.who)}</text>')
            rows.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{width}" height="{BAR_HEIGHT}"/>')
            rows.append(f'<text x="{left + width + 6}" y="{y + 11}">{_number(bar.value)}</text>')
            y += BAR_HEIGHT + BAR_GAP
        y += GROUP_GAP
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}">',
        "<!-- made by tools/plot.py from tests/bench/history -->",
        "<style>text{font:12px sans-serif;fill:#24292f}.title{font-weight:bold;font-size:14px}"
        ".who{text-anchor:end;fill:#57606a}.ours{fill:#bc4c00}.other{fill:#8c959f}</style>",
        f'<rect width="{WIDTH}" height="{y}" fill="#ffffff"/>',
        f'<text class="title" x="{MARGIN}" y="22">{html.escape(title)}</text>',
        f'<text x="{MARGIN}" y="40">{html.escape(what)}</text>',
        *rows,
        "</svg>",
        "",
    ])


def write(directory, history=HISTORY):
    """Writes the charts costs.svg and native.svg into the directory; their paths."""
    values = latest(history)
    charts = {
        "costs.svg": draw("What messages and exits cost", "executed instructions on the same emulator; lower is better",
            costs(values)),
        "native.svg": draw("Programs in a guest", "speed in parts of the machine's own, 1 is native; higher is better",
            ratios(values), full=1),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in charts.items():
            (directory / name).write_text(text)
    except OSError as error:
        raise common.Usage(f"--plot {directory}: {error.strerror}") from None
    return [directory / name for name in charts]
