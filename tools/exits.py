"""Exits of a running node's guests, as its kernel counts them: tables, a view that refreshes, Prometheus' text, charts, traces.

docs/manual/seeing-exits.md explains the numbers.
"""

import collections
import html
import json
import shutil
import sys
import time

import common
import ctl

INTERVAL_SECONDS = 1.0
DEFAULT_SECONDS = 10.0
USAGE = "exits is followed by stats [VM], top [VM], plot FILE.svg [VM] or record FILE [VM]"
KERNEL = "kernel: "  # before the name of what no handler learns of

Count = collections.namedtuple("Count", "exits ns")


def is_exits(words):
    return words[:1] in (["exits"], ["metrics"])


def command(words, seconds, as_json):
    """What carries out the command, given a client; it returns the exit status. Raises Usage."""
    if words[0] == "metrics":
        if len(words) > 1:
            raise common.Usage(f"metrics: '{words[1]}' is too much")
        return lambda client: _print(metrics(client))
    name, rest = words[1] if len(words) > 1 else None, words[2:]
    with_file = {"plot": plot, "record": record}
    if name not in ("stats", "top", *with_file):
        raise common.Usage(USAGE)
    file = None
    if name in with_file:
        if not rest:
            raise common.Usage(USAGE)
        file, *rest = rest
    if len(rest) > 1:
        raise common.Usage(f"exits {name}: '{rest[1]}' is too much")
    vm = rest[0] if rest else None
    if name == "stats":
        return lambda client: stats(client, vm, as_json)
    if name == "top":
        return lambda client: top(client, vm, seconds)
    return lambda client: with_file[name](client, file, vm, seconds or DEFAULT_SECONDS)


def _print(text):
    sys.stdout.write(text)
    return ctl.EXIT_OK


def _ask(client, request):
    reply = client.ask(request)[1]
    if reply.get("ok") is not True:
        raise ctl.Refused(str(reply.get("error")), ctl.STATUS_OF_KIND.get(reply.get("kind"), ctl.EXIT_REFUSED))
    return reply["result"]


def gather(client, vm=None):
    """What the node says about one VM, or about all that have vCPUs now. Raises Refused."""
    if vm is not None:
        return [_ask(client, {"command": "exits", "vm": vm})]
    found = []
    for item in _ask(client, {"command": "list"}):
        try:
            found.append(_ask(client, {"command": "exits", "vm": item["name"]}))
        except ctl.Refused as refused:
            if refused.status not in (ctl.STATUS_OF_KIND["state"], ctl.STATUS_OF_KIND["not found"]):
                raise
    return found


def counts(vms):
    """A Count by VM, vCPU and class; those that the kernel answers have no time."""
    found = {}
    for item in vms:
        for number, cpu in enumerate(item["vcpus"]):
            for name, (exits, ns) in cpu["exits"].items():
                found[item["vm"], number, name] = Count(exits, ns)
            for name, exits in cpu["kernel"].items():
                found[item["vm"], number, KERNEL + name] = Count(exits, 0)
    return found


def differences(before, now):
    """What came between two counts(). A VM that was started anew meanwhile began at 0."""
    found = {}
    for key, count in now.items():
        old = before.get(key, Count(0, 0))
        if old.exits > count.exits:
            old = Count(0, 0)
        if count.exits > old.exits or count.ns > old.ns:
            found[key] = Count(count.exits - old.exits, max(0, count.ns - old.ns))
    return found


def _clean(text):
    return "".join(c if c.isprintable() else "?" for c in text)


def _table(titles, rows):
    """The first three columns are text."""
    rows = [titles, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if column < 3 else cell.rjust(width) for column, (cell, width) in
                 enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]]


def _stats_rows(found):
    for (vm, cpu, name), count in found.items():
        in_kernel = name.startswith(KERNEL)
        yield [_clean(vm), str(cpu), name, str(count.exits), "-" if in_kernel else f"{count.ns / 1e6:.3f}",
               "-" if in_kernel or not count.exits else f"{count.ns / count.exits / 1e3:.3f}"]


def stats(client, vm, as_json):
    try:
        vms = gather(client, vm)
    except ctl.Refused as refused:
        if as_json:
            kinds = {status: kind for kind, status in reversed(ctl.STATUS_OF_KIND.items())}
            print(json.dumps({"ok": False, "error": str(refused), "kind": kinds.get(refused.status, "failed")}))
        print(f"error: {refused}", file=sys.stderr)
        return refused.status
    if as_json:
        print(json.dumps({"ok": True, "result": vms}))
    else:
        titles = ["VM", "vCPU", "Class", "Exits", "Time (ms)", "Each (us)"]
        print("\n".join(_table(titles, _stats_rows(counts(vms)))))
    return ctl.EXIT_OK


def top_lines(before, now, seconds):
    """The view: what of the last seconds was most, first."""
    found = sorted(differences(before, now).items(), key=lambda item: (-item[1].exits, item[0]))
    rows = []
    for (vm, cpu, name), count in found:
        in_kernel = name.startswith(KERNEL)
        rows.append([_clean(vm), str(cpu), name, f"{count.exits / seconds:.0f}",
                     "-" if in_kernel else f"{count.ns / seconds / 1e7:.2f}",
                     "-" if in_kernel or not count.exits else f"{count.ns / count.exits / 1e3:.3f}",
                     str(now[vm, cpu, name].exits)])
    return _table(["VM", "vCPU", "Class", "Exits/s", "Time (%)", "Each (us)", "Total"], rows)


def _samples(client, vm, seconds):
    """Yields the time since the first one, and counts(); for so many seconds, or for ever."""
    begin = time.monotonic()
    while True:
        now = time.monotonic()
        yield now - begin, counts(gather(client, vm))
        if seconds is not None and time.monotonic() - begin >= seconds:
            return
        time.sleep(max(0.0, now + INTERVAL_SECONDS - time.monotonic()))


def top(client, vm, seconds):
    """In a terminal it refreshes until Ctrl-C; elsewhere it shows one interval."""
    in_terminal = sys.stdout.isatty()
    if not in_terminal and seconds is None:
        seconds = INTERVAL_SECONDS
    last = None
    try:
        for at, now in _samples(client, vm, seconds):
            if last and in_terminal:
                height = shutil.get_terminal_size().lines
                lines = top_lines(last[1], now, at - last[0])[: height - 1]
                sys.stdout.write("\x1b[H\x1b[J" + "\n".join(lines) + "\n")
                sys.stdout.flush()
            if last is None or in_terminal:
                last = at, now
        if not in_terminal:
            print("\n".join(top_lines(last[1], now, max(at - last[0], 1e-9))))
    except KeyboardInterrupt:
        pass
    return ctl.EXIT_OK


# --- Prometheus

STATES = ("shut off", "starting", "running", "suspended", "restarting", "frozen", "failed")


def _label(value):
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _name(text):
    return text.lower().replace(" ", "_")


class _Families:
    """Samples by the metric they belong to: a metric's samples stand together."""

    def __init__(self):
        self._text = []

    def add(self, name, kind, meaning, samples):
        samples = list(samples)
        if not samples:
            return
        self._text.append(f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n")
        for labels, value in samples:
            inside = ",".join(f'{key}="{_label(text)}"' for key, text in labels.items())
            self._text.append(f"{name}{{{inside}}} {value}\n" if inside else f"{name} {value}\n")

    def text(self):
        return "".join(self._text)


def _seconds(ns):
    """Exactly: a float would have lost the end of it after three months."""
    return f"{ns // 10**9}.{ns % 10**9:09}"


def metrics(client):
    """The node in Prometheus' text exposition format, version 0.0.4."""
    node, vms = _ask(client, {"command": "nodeinfo"}), _ask(client, {"command": "list"})
    counted = gather(client)
    families = _Families()
    exits, seconds, by_kernel = [], [], []
    for item in counted:
        for number, cpu in enumerate(item["vcpus"]):
            place = {"vm": item["vm"], "vcpu": number}
            for name, (count, ns) in cpu["exits"].items():
                exits.append(({**place, "class": _name(name)}, count))
                seconds.append(({**place, "class": _name(name)}, _seconds(ns)))
            by_kernel += [({**place, "kind": _name(name)}, count) for name, count in cpu["kernel"].items()]
    families.add("margay_exits_total", "counter", "VM exits that a handler answered.", exits)
    families.add("margay_exit_seconds_total", "counter", "Time from these exits to their replies.", seconds)
    families.add("margay_kernel_exits_total", "counter", "VM exits that the kernel answered itself.", by_kernel)
    states = collections.Counter(vm["state"] for vm in vms)
    families.add("margay_vms", "gauge", "VMs in that state.", [({"state": _name(s)}, states[s]) for s in STATES])
    families.add("margay_vm_up", "gauge", "1 if the VM is running, or is being given another VMM.",
        [({"vm": vm["name"]}, int(vm["state"] in ("running", "restarting"))) for vm in vms])
    families.add("margay_vm_memory_bytes", "gauge", "Memory of the VM's guest.",
        [({"vm": vm["name"]}, vm["memory_mib"] << 20) for vm in vms])
    families.add("margay_vmm_restarts_total", "counter", "VMMs that have died under the VM.",
        [({"vm": vm["name"]}, vm["restarts"]) for vm in vms])
    families.add("margay_cores", "gauge", "Cores of the node.", [({}, node["cores"])])
    families.add("margay_memory_free_bytes", "gauge", "Memory that nobody uses.", [({}, node["memory_free"])])
    families.add("margay_memory_used_bytes", "gauge", "Memory that is in use.", [({}, node["memory_used"])])
    families.add("margay_server_deaths_total", "counter", "How often a server died and was replaced.",
        [({"server": name}, node[f"{name}_deaths"]) for name in ("console", "pmem", "pci")])
    return families.text()


# --- files

SHOWN_CLASSES = 8
COLOURS = ("#1f6f8b", "#d1603d", "#6a8d3c", "#7b4b94", "#c49a2a", "#4a6fa5", "#a23b55", "#555555")
WIDTH, MARGIN, NAME_WIDTH, BAR_HEIGHT, CURVE_HEIGHT = 820, 16, 190, 18, 220


def _write(file, text):
    try:
        with open(file, "w") as out:
            out.write(text)
    except OSError as error:
        raise common.Usage(f"{file}: {error.strerror}") from None


def by_class(found):
    """Counts of all VMs and vCPUs together, the most frequent class first."""
    sums = collections.defaultdict(lambda: Count(0, 0))
    for (_, _, name), count in found.items():
        sums[name] = Count(sums[name].exits + count.exits, sums[name].ns + count.ns)
    return dict(sorted(sums.items(), key=lambda item: (-item[1].exits, item[0])))


def svg(title, samples):
    """A bar for each class, and exits per second over the time. samples: of _samples()."""
    total = by_class(differences(samples[0][1], samples[-1][1]))
    shown = list(total)[:SHOWN_CLASSES]
    rates = {name: [] for name in shown}
    for (earlier, before), (later, now) in zip(samples, samples[1:]):
        step = by_class(differences(before, now))
        for name in shown:
            rates[name].append((later, step.get(name, Count(0, 0)).exits / max(later - earlier, 1e-9)))
    bars_end = 56 + len(shown) * (BAR_HEIGHT + 6)
    height = bars_end + CURVE_HEIGHT + 56
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif"'
             f' font-size="12"><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             f'<text x="{MARGIN}" y="24" font-size="15">{html.escape(title)}</text>']
    most = max((total[name].exits for name in shown), default=0) or 1
    for index, name in enumerate(shown):
        y, count = 44 + index * (BAR_HEIGHT + 6), total[name]
        length = count.exits / most * (WIDTH - NAME_WIDTH - 220)
        each = f", {count.ns / count.exits / 1e3:.2f} us each" if count.ns and count.exits else ""
        parts.append(f'<text x="{MARGIN}" y="{y + 13}">{html.escape(name)}</text>'
            f'<rect x="{NAME_WIDTH}" y="{y}" width="{length:.1f}" height="{BAR_HEIGHT}" fill="{COLOURS[index]}"/>'
            f'<text x="{NAME_WIDTH + length + 6:.1f}" y="{y + 13}">{count.exits}{each}</text>')
    end = samples[-1][0] or 1
    peak = max((rate for curve in rates.values() for _, rate in curve), default=0) or 1
    left, bottom = NAME_WIDTH, bars_end + CURVE_HEIGHT + 10
    parts.append(f'<path d="M{left} {bottom - CURVE_HEIGHT}V{bottom}H{WIDTH - MARGIN}" fill="none" stroke="#888888"/>'
        f'<text x="{MARGIN}" y="{bottom - CURVE_HEIGHT + 10}">{peak:.0f} exits/s</text>'
        f'<text x="{MARGIN}" y="{bottom}">0</text>'
        f'<text x="{WIDTH - MARGIN}" y="{bottom + 18}" text-anchor="end">{end:.0f} s</text>')
    for index, name in enumerate(shown):
        points = " ".join(f"{left + at / end * (WIDTH - MARGIN - left):.1f},{bottom - rate / peak * CURVE_HEIGHT:.1f}"
            for at, rate in rates[name])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[index]}" stroke-width="1.5"/>')
    return "".join(parts) + "</svg>\n"


def plot(client, file, vm, seconds):
    samples = list(_samples(client, vm, seconds))
    _write(file, svg(f"Exits of {vm or 'all VMs'} in {samples[-1][0]:.0f} s", samples))
    common.progress(f"made {file}")
    return ctl.EXIT_OK


def trace(samples):
    """Chrome's trace format: a process for each VM, and in it a counter for each vCPU, exits per second by class."""
    events, numbers = [], {}
    for (earlier, before), (later, now) in zip(samples, samples[1:]):
        curves = collections.defaultdict(dict)
        found = differences(before, now)
        for key in now:
            vm, cpu, name = key
            curves[vm, cpu][name] = round(found.get(key, Count(0, 0)).exits / max(later - earlier, 1e-9), 1)
        for (vm, cpu), values in curves.items():
            if vm not in numbers:
                numbers[vm] = len(numbers) + 1
                events.append({"ph": "M", "name": "process_name", "pid": numbers[vm], "args": {"name": vm}})
            events.append({"ph": "C", "name": f"exits/s of vCPU {cpu}", "pid": numbers[vm],
                           "ts": round(later * 1e6), "args": values})
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def record(client, file, vm, seconds):
    _write(file, json.dumps(trace(list(_samples(client, vm, seconds)))) + "\n")
    common.progress(f"made {file}: https://ui.perfetto.dev shows it")
    return ctl.EXIT_OK
