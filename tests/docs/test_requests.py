"""The reference of the requests and the OpenRPC document are what the bridge answers."""

import json
from typing import Any

import msgspec
import pytest

import requests_shown
from asking import asking
from binance_proxy.application.serve.examples import EXAMPLES
from binance_proxy.application.serve.methods import METHODS

NEWER = "run `uv run python tests/requests_shown.py`"
TYPES = {"integer", "number", "string", "boolean", "array", "object", "null"}


@pytest.fixture
async def document() -> dict[str, Any]:
    """What a client gets from `rpc.discover`."""
    return await (await asking([])).ask("rpc.discover")


async def test_the_file_is_what_is_discovered(document):
    assert json.loads(requests_shown.DOCUMENT.read_text(encoding="utf-8")) == document, NEWER


def test_the_page_is_made_of_it():
    assert requests_shown.PAGE.read_text(encoding="utf-8") == requests_shown.page(), NEWER


async def test_the_examples_are_what_is_answered():
    assert await requests_shown.examples() == EXAMPLES, NEWER


@pytest.mark.parametrize("method", METHODS)
def test_an_example_fits_the_types(method):
    params, result = EXAMPLES[method]
    msgspec.convert(params, METHODS[method].asked)
    msgspec.convert(result, METHODS[method].result)


async def test_the_document_has_the_shape_of_openrpc_1(document):
    assert document["openrpc"] == "1.3.2"
    assert {"title", "version"} <= document["info"].keys()
    assert {"openrpc", "info", "methods"} <= document.keys()
    assert document.keys() <= {"openrpc", "info", "servers", "methods", "components", "externalDocs"}
    names = [method["name"] for method in document["methods"]]
    assert names == [*METHODS, "rpc.discover"]
    for method in document["methods"]:
        assert method["paramStructure"] == "by-name"
        assert method["summary"].endswith(".")
        assert method["result"].keys() == {"name", "schema"}
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True), "required ones come first"
        assert len({param["name"] for param in method["params"]}) == len(required)
        for param in method["params"]:
            assert (
                {"name", "schema", "required"}
                <= param.keys()
                <= {"name", "schema", "required", "description"}
            )
        for error in method.get("errors", ()):
            assert isinstance(error["code"], int)
            assert error["message"]
        for example in method.get("examples", ()):
            assert {one["name"] for one in example["params"]} <= {one["name"] for one in method["params"]}
            assert "value" in example["result"]


async def test_every_method_has_an_example_and_says_what_can_go_wrong(document):
    for method in document["methods"][:-1]:
        assert len(method["examples"]) == 1
        assert {-32602, -32001, -32003} <= {error["code"] for error in method["errors"]}


async def test_every_schema_can_be_resolved_and_every_field_of_a_param_is_described(document):
    schemas = document["components"]["schemas"]
    referred = set()

    def walk(schema: dict[str, Any]) -> None:
        if "$ref" in schema:
            head, _, name = schema["$ref"].rpartition("/")
            assert head == "#/components/schemas"
            assert name in schemas
            referred.add(name)
        if "type" in schema:
            assert schema["type"] in TYPES
        for inner in (
            *schema.get("anyOf", ()),
            *schema.get("prefixItems", ()),
            *schema.get("properties", {}).values(),
        ):
            walk(inner)
        if isinstance(schema.get("items"), dict):
            walk(schema["items"])

    for method in document["methods"]:
        walk(method["result"]["schema"])
        for param in method["params"]:
            assert param.get("description"), (method["name"], param["name"])
            walk(param["schema"])
    for schema in schemas.values():
        walk(schema)
    assert referred == set(schemas)


async def test_bounds_are_told(document):
    (trades,) = [one for one in document["methods"] if one["name"] == "trades.list"]
    by_name = {param["name"]: param for param in trades["params"]}
    limit = by_name["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100_000, 1_000)
    assert (by_name["symbol"]["required"], by_name["start"]["required"]) == (True, False)
