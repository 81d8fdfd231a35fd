"""Writes metrics down: in Prometheus' text format 0.0.4, or as OpenMetrics 1.0."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Family", "Sample", "exposition"]

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One number of a family, under the family's name and `suffix`."""

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Samples that belong together; `kind` is `counter`, `gauge`, `histogram` or `info`.

    `name` has no `_total` and no `_info`: these are suffixes of samples.
    """

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def exposition(families: Iterable[Family], *, openmetrics: bool) -> str:
    """Return the families as text."""
    lines: list[str] = []
    for family in families:
        name, kind = family.name, family.kind
        if not openmetrics and kind in {"counter", "info"}:  # which the older format names after their samples
            name, kind = (f"{name}_total", kind) if kind == "counter" else (f"{name}_info", "gauge")
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {kind}"]
        if openmetrics and name.endswith("_seconds"):
            lines.append(f"# UNIT {name} seconds")
        elif openmetrics and name.endswith("_bytes"):
            lines.append(f"# UNIT {name} bytes")
        lines += [_line(family.name, sample) for sample in family.samples]
    return "\n".join([*lines, "# EOF", ""] if openmetrics else [*lines, ""])


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{value.translate(_ESCAPES)}"' for key, value in sample.labels.items())
    return (
        f"{name}{sample.suffix}{{{labels}}} {_number(sample.value)}"
        if labels
        else (f"{name}{sample.suffix} {_number(sample.value)}")
    )


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
