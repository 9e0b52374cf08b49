"""What subsystems count, as Prometheus wants it: seconds, bytes, names that begin with walnut_.

What must stay true: no metric has a label whose values come from users, as each is kept by Prometheus
for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)

from walnut.log.metrics import Histogram

_FIRST: Final = 4
_LAST: Final = 24
"""Powers of two, in microseconds, that are shown as buckets: 16 µs to 17 s."""


def counter(name: str, about: str, value: float) -> CounterMetricFamily:
    """A number that only grows; Prometheus puts `_total` behind its name."""
    return CounterMetricFamily(f"walnut_{name}", about, value=value)


def gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    """A number as it is now."""
    return GaugeMetricFamily(f"walnut_{name}", about, value=value)


def by(
    label: str, name: str, about: str, values: Mapping[str, float], *, grows: bool = False
) -> CounterMetricFamily | GaugeMetricFamily:
    """One number for each value of a label; `grows`: they are counters."""
    kind = CounterMetricFamily if grows else GaugeMetricFamily
    family = kind(f"walnut_{name}", about, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def seconds(name: str, about: str, times: Histogram) -> HistogramMetricFamily:
    """A distribution of times, which are counted in microseconds by powers of two."""
    seen = sum(times.counts[:_FIRST])
    buckets = []
    for power in range(_FIRST, _LAST + 1):
        seen += times.counts[power]
        buckets.append((repr((1 << power) / 1e6), seen))
    buckets.append(("+Inf", times.count))
    return HistogramMetricFamily(
        f"walnut_{name}_seconds", about, buckets=buckets, sum_value=times.total / 1e6
    )
