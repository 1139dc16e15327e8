import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway_process import GatewayProcess

METHODS = ("get", "post", "put", "patch", "delete")
CONTRACT = {
    "POST /v1/chat/completions", "GET /v1/models", "GET /api/sessions", "GET /api/sessions/{key}",
    "DELETE /api/sessions/{key}", "POST /api/sessions/{key}/archive", "POST /api/sessions/{key}/restore",
    "POST /api/sessions/{key}/pin", "POST /api/sessions/{key}/unpin", "POST /api/sessions/{key}/cancel",
    "POST /api/sessions/{key}/messages", "GET /api/sessions/{key}/entries", "GET /api/sessions/{key}/events",
    "GET /api/blobs/{hash}", "GET /api/runs", "POST /api/runs/{id}/cancel", "GET /api/status", "POST /api/sweep",
    "GET /metrics", "GET /healthz", "GET /readyz", "GET /openapi.json", "GET /",
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Run a gateway."""
    with GatewayProcess(tmp_path_factory.mktemp("gateway") / "state") as running:
        yield running


@pytest.fixture(scope="module")
def document(gateway: GatewayProcess) -> dict[str, Any]:
    """Fetch the document."""
    return dict(gateway.get("/openapi.json"))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of each operation."""
    for path, item in document["paths"].items():
        assert set(item) <= set(METHODS)
        for method, operation in item.items():
            yield method, path, operation


def concrete(path: str) -> str:
    """Fill in a path with names of nothing."""
    return re.sub(r"{\w+}", "none", path)


def test_it_holds_the_contract(document: dict[str, Any]) -> None:
    """Everything that the contract names is described."""
    described = {f"{method.upper()} {path}" for method, path, _ in operations(document)}
    assert CONTRACT - described == set()


def test_what_is_described_is_served(gateway: GatewayProcess, document: dict[str, Any]) -> None:
    """Each operation is there, each status that it answers is described, and no other method is possible."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if (method, path) == ("post", "/api/stop"):
                continue  # it does
            response = gateway.http.request(method.upper(), concrete(path))
            if method not in item:
                assert response.status_code == 405, (method, path)
                continue
            assert response.status_code != 405, (method, path)
            assert str(response.status_code) in item[method]["responses"], (
                method,
                path,
                response.status_code,
            )


def test_each_operation_is_whole(document: dict[str, Any]) -> None:
    """An operation has a summary, its path's parameters, a good answer, and errors in one shape."""
    assert document["openapi"].startswith("3.1")
    assert {"title", "version"} <= set(document["info"])
    for method, path, operation in operations(document):
        assert operation["summary"], (method, path)
        parameters = operation["parameters"]
        assert len({(one["in"], one["name"]) for one in parameters}) == len(parameters)
        in_path = [one["name"] for one in parameters if one["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        assert all(one["required"] == (one["in"] == "path") for one in parameters)
        assert all(one["in"] == "path" or one["description"] for one in parameters)
        codes = {int(code) for code in operation["responses"]}
        assert any(200 <= code < 300 for code in codes)
        assert all(response["description"] for response in operation["responses"].values())
        is_proved = operation.get("security") != [] or path.startswith("/hooks/")
        assert (401 in codes) == is_proved, (method, path)


def test_each_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """Every `$ref` names a component, and every component is an object's schema."""
    names = set(re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(document)))
    schemas = document["components"]["schemas"]
    assert names == {f"#/components/schemas/{name}" for name in schemas}
    assert all(schema["type"] == "object" for schema in schemas.values())
    assert set(document["security"][0]) == set(document["components"]["securitySchemes"])
