"""The published schemas, read in place where they lie beside this checkout."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SPECS = Path(__file__).parents[4] / "shared" / "specs"
ACP = SPECS / "acp-2026-04-17"
UCP = SPECS / "ucp-2026-08-22" / "source"


@cache
def acp_validator(name: str, document: str = "delegate_payment") -> Draft202012Validator:
    """A validator of one of a document's definitions."""
    schema = _read(ACP / "spec" / "2026-04-17" / "json-schema" / f"schema.{document}.json")
    return Draft202012Validator(
        {**schema, "$ref": f"#/$defs/{name}"}, format_checker=Draft202012Validator.FORMAT_CHECKER
    )


def acp_examples() -> dict[str, Any]:
    """The published examples of delegate_payment."""
    examples: dict[str, Any] = _read(ACP / "examples" / "2026-04-17" / "examples.delegate_payment.json")
    return examples


def ucp_tokenizer() -> dict[str, Any]:
    """UCP's OpenAPI of a tokenizer."""
    document: dict[str, Any] = _read(UCP / "handlers" / "tokenization" / "openapi.json")
    return document


@cache
def ucp_validator(path: str) -> Draft202012Validator:
    """A validator of one of UCP's types, by its file under ``schemas`` and, after a #, its place there."""
    directory = UCP / "schemas"
    name, _, place = path.partition("#")
    identity = _read(directory / name)["$id"]
    resources = [Resource.from_contents(_read(file)) for file in sorted(directory.rglob("*.json"))]
    registry: Any = Registry().with_resources([(str(one.id()), one) for one in resources])
    return Draft202012Validator({"$ref": f"{identity}#{place}"}, registry=registry)


def ucp_request_validator() -> Draft202012Validator:
    """A validator of the tokenizer's request."""
    content = ucp_tokenizer()["paths"]["/tokenize"]["post"]["requestBody"]["content"]["application/json"]
    schema = json.loads(json.dumps(content["schema"]).replace("../../schemas/", "https://ucp.dev/schemas/"))
    return Draft202012Validator(schema, registry=ucp_validator("shopping/types/binding.json")._registry)


def ucp_response_validator() -> Draft202012Validator:
    """A validator of the tokenizer's answer."""
    answer = ucp_tokenizer()["paths"]["/tokenize"]["post"]["responses"]["200"]["content"]["application/json"]
    return Draft202012Validator(answer["schema"])


def _read(path: Path) -> Any:
    if not path.is_file():
        pytest.skip("the published schemas are not beside this checkout")
    return json.loads(path.read_text(encoding="utf-8"))
