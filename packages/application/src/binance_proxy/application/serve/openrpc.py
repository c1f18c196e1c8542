"""The OpenRPC document: every method as programs can read it, made of the table of methods.

Source: OpenRPC Specification 1.3.2, https://spec.open-rpc.org.
"""

from functools import lru_cache
from inspect import cleandoc
from typing import Any

import msgspec
from msgspec import Struct

from binance_proxy.application.serve.asked import Asked
from binance_proxy.application.serve.examples import EXAMPLES
from binance_proxy.application.serve.failures import MEANINGS
from binance_proxy.application.serve.methods import METHODS, Method
from binance_proxy.application.serve.status import PROTOCOL

DISCOVER = "rpc.discover"

_REF = "#/components/schemas/{name}"


class AskedDiscover(Asked, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Get this document."""


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the document. Do not change it."""
    results, components = msgspec.json.schema_components(
        [one.result for one in METHODS.values()], ref_template=_REF
    )
    methods = [
        _method(one, schema, components) for one, schema in zip(METHODS.values(), results, strict=True)
    ]
    methods.append(
        {
            "name": DISCOVER,
            "summary": _summary(AskedDiscover),
            "paramStructure": "by-name",
            "params": _params(AskedDiscover, components),
            "result": {"name": "document", "schema": {"type": "object"}},
        }
    )
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "Binance Proxy API",
            "version": PROTOCOL,
            "description": "Requests to a bridge: JSON-RPC 2.0 over ZeroMQ, in JSON or MessagePack.",
            "license": {"name": "MIT"},
        },
        "servers": [{"name": "bridge", "url": "tcp://127.0.0.1:5557"}],
        "methods": methods,
        "components": {"schemas": {name: components[name] for name in sorted(components)}},
    }


def _method(method: Method, result: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    params, answered = EXAMPLES[method.name]
    name = result.get("$ref", "status").rpartition("/")[2]
    return {
        "name": method.name,
        "summary": _summary(method.asked),
        "paramStructure": "by-name",
        "params": _params(method.asked, components),
        "result": {"name": name, "schema": result},
        "errors": [{"code": code, "message": MEANINGS[code]} for code in sorted(method.errors, reverse=True)],
        "examples": [
            {
                "name": f"{method.name} example",
                "params": [{"name": key, "value": value} for key, value in params.items()],
                "result": {"name": name, "value": answered},
            }
        ],
    }


def _params(asked: type[Asked], components: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of a method, the required ones first; put what they refer to beside the rest."""
    _, own = msgspec.json.schema_components([asked], ref_template=_REF)
    whole = own.pop(asked.__name__)
    components.update(own)
    required = set(whole.get("required", ()))
    found = []
    for name, schema in whole["properties"].items():
        described = {"description": schema.pop("description")} if "description" in schema else {}
        found.append({"name": name, **described, "required": name in required, "schema": schema})
    return sorted(found, key=lambda one: (not one["required"], one["name"] == "timeout_ms"))


def _summary(asked: type[Struct]) -> str:
    return cleandoc(asked.__doc__ or "")
