import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.edge import exposition

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = re.compile(r"\btidegate_\w+")
SUFFIXES = ("_bucket", "_sum", "_count", "_total")


def exported() -> set[str]:
    """Return every metric that is written down, by its name without a suffix."""
    source = Path(exposition.__file__).read_text()
    called = set(re.findall(r'(?:_gauge|_counter|_single)\(\s*"(\w+)"', source)) | {"run_seconds"}
    return {f"tidegate_{name}" for name in called | set(exposition.HISTOGRAMS) | set(exposition.SAMPLED)}


def used(expressions: list[str]) -> set[str]:
    """Return every metric that expressions name, without suffixes."""
    found = {name for text in expressions for name in NAMES.findall(text)}
    return {next((name[: -len(end)] for end in SUFFIXES if name.endswith(end)), name) for name in found}


@pytest.fixture
def rules() -> list[dict[str, Any]]:
    """Return the alerts."""
    document = yaml.safe_load((DEPLOY / "prometheus" / "tidegate.rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


@pytest.fixture
def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    return dict(json.loads((DEPLOY / "grafana" / "tidegate.json").read_text()))


def test_alerts_name_metrics_that_there_are(rules: list[dict[str, Any]]) -> None:
    """Every alert is whole, and asks for metrics that the gateway exports."""
    assert set() == used([rule["expr"] for rule in rules]) - exported()
    for rule in rules:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule), rule
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]
    assert len(rules) == len({rule["alert"] for rule in rules}) >= 8


def test_the_dashboard_names_metrics_that_there_are(dashboard: dict[str, Any]) -> None:
    """Every panel asks for metrics that the gateway exports, of the gateways that were chosen; ids are its own."""
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert set() == used([*targets, json.dumps(dashboard["templating"])]) - exported()
    assert [] == [expr for expr in targets if 'instance=~"$instance"' not in expr]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    """No panel lies over another one, nor beyond the grid of 24 columns."""
    places: list[tuple[int, int]] = []
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        places += [
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
