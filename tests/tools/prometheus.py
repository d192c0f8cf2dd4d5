"""A strict reader of Prometheus' text exposition format, version 0.0.4: what a scraper might only forgive is an error."""

import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
_LABELS = re.compile(_LABEL)
_SAMPLE = re.compile(rf"({NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (-?[0-9]+(?:\.[0-9]+)?)")
TYPES = ("counter", "gauge")


def _unescaped(text):
    return re.sub(r'\\(.)', lambda found: {"n": "\n"}.get(found[1], found[1]), text)


def parse(text):
    """{metric: (type, {frozenset of labels: value})}. ValueError, with the line, if it is anything else."""
    metrics, name, meaning = {}, None, None
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text[:-1].split("\n"):
        if found := re.fullmatch(rf"# HELP ({NAME}) (.+)", line):
            if found[1] in metrics or meaning is not None:
                raise ValueError(f"described twice, or without a type: {line}")
            name, meaning = found[1], found[2]
        elif found := re.fullmatch(rf"# TYPE ({NAME}) ({'|'.join(TYPES)})", line):
            if found[1] != name or meaning is None:
                raise ValueError(f"not behind its HELP: {line}")
            if (found[2] == "counter") != name.endswith("_total"):
                raise ValueError(f"counters, and they alone, are called _total: {line}")
            metrics[name], meaning = (found[2], {}), None
        elif found := _SAMPLE.fullmatch(line):
            if found[1] != name or name not in metrics:
                raise ValueError(f"not behind its TYPE: {line}")
            pairs = [(label, _unescaped(value)) for label, value in _LABELS.findall(found[2] or "")]
            labels = frozenset(pairs)
            if len(dict(pairs)) != len(pairs) or labels in metrics[name][1]:
                raise ValueError(f"twice: {line}")
            value = float(found[len(found.groups())])
            if metrics[name][0] == "counter" and value < 0:
                raise ValueError(f"a negative counter: {line}")
            metrics[name][1][labels] = value
        else:
            raise ValueError(f"neither HELP, TYPE nor a sample: {line}")
    empty = [name for name, (_, samples) in metrics.items() if not samples]
    if meaning is not None or empty:
        raise ValueError(f"no samples of {name}")
    return metrics


def value(metrics, name, **labels):
    return metrics[name][1][frozenset((key, str(text)) for key, text in labels.items())]
