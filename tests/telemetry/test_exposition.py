"""Metrics as text: what Prometheus and OpenMetrics readers are given."""

from gateway.telemetry.exposition import Family, Sample, exposition

FAMILIES = (
    Family("calls", "counter", "Calls.", (Sample(2, {"tool": 'a"b\\c\nd'}, "_total"),)),
    Family("built", "info", "The version.", (Sample(1, {"version": "1"}, "_info"),)),
    Family("took_seconds", "gauge", "Time.", (Sample(0.25, {}),)),
    Family("held_bytes", "gauge", "Memory.", (Sample(4096, {}),)),
)


def test_prometheus_is_given_counters_under_the_names_of_their_samples() -> None:
    assert exposition(FAMILIES, openmetrics=False).splitlines() == [
        "# HELP calls_total Calls.",
        "# TYPE calls_total counter",
        r'calls_total{tool="a\"b\\c\nd"} 2',
        "# HELP built_info The version.",
        "# TYPE built_info gauge",
        'built_info{version="1"} 1',
        "# HELP took_seconds Time.",
        "# TYPE took_seconds gauge",
        "took_seconds 0.25",
        "# HELP held_bytes Memory.",
        "# TYPE held_bytes gauge",
        "held_bytes 4096",
    ]


def test_openmetrics_is_given_families_units_and_an_end() -> None:
    text = exposition(FAMILIES, openmetrics=True)
    assert "# TYPE calls counter\n" in text
    assert "# TYPE built info\n" in text
    assert "# UNIT took_seconds seconds\n" in text
    assert "# UNIT held_bytes bytes\n" in text
    assert text.endswith("held_bytes 4096\n# EOF\n")
