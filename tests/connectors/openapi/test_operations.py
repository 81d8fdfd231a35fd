"""What of a description becomes a tool, and which."""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest

from connectors.openapi.document import Document, SpecRefused
from connectors.rest.operation import Body, Form, Part, Place, Style
from gateway.connector import Effect, ToolTraits
from gateway.connector.failures import Action, Failures
from tests.connectors.openapi.describing import described, made, op

PETS: Mapping[str, Any] = {
    "/pets": {
        "get": op(operationId="listPets", summary="All pets"),
        "post": op(operationId="addPet"),
        "trace": op(operationId="traced"),
        "summary": "pets",
    },
    "/pets/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        "get": op(operationId=None),
        "put": op(operationId="replace pet!"),
        "delete": op(operationId="dropPet"),
    },
    "x-note": "none",
}


def names(*wanted: str) -> list[str]:
    return [operation.name for operation in made(described(PETS), *wanted)]


def test_only_what_is_named_becomes_a_tool() -> None:
    assert names("listPets") == ["listPets"]
    assert names("dropPet", "listPets") == ["listPets", "dropPet"]
    assert names("GET /pets") == ["listPets"]
    assert names("GET /*") == ["listPets", "get_pets_id"]
    assert names("PUT /pets/{id}") == ["replace_pet"]


@pytest.mark.parametrize("wanted", ["lisPets", "GET /cats", "get /pets", "traced", "TRACE /pets", "*"])
def test_a_name_that_leads_nowhere_fails_the_load(wanted: str) -> None:
    with pytest.raises(SpecRefused, match="is not in the description"):
        made(described(PETS), "listPets", wanted)


def test_two_tools_are_never_called_the_same() -> None:
    paths = {"/a": {"get": op(operationId="a b")}, "/b": {"get": op(operationId="a_b")}}
    with pytest.raises(SpecRefused, match="'a_b'"):
        made(described(paths), "GET /*")


@pytest.mark.parametrize(
    ("method", "keyed", "traits"),
    [
        ("get", True, ToolTraits(Effect.READ)),
        ("head", False, ToolTraits(Effect.READ)),
        ("post", False, ToolTraits(Effect.WRITE)),
        ("post", True, ToolTraits(Effect.WRITE, idempotent=True)),
        ("patch", False, ToolTraits(Effect.WRITE)),
        ("put", False, ToolTraits(Effect.WRITE, idempotent=True)),
        ("delete", False, ToolTraits(Effect.IRREVERSIBLE, idempotent=True)),
    ],
)
def test_the_effect_follows_from_the_method(method: str, keyed: bool, traits: ToolTraits) -> None:
    (operation,) = made(described({"/a": {method: op()}}), keyed=keyed)
    assert operation.traits == traits
    hints = operation.definition["annotations"]
    assert (hints["title"], hints["readOnlyHint"]) == (f"{method.upper()} /a", traits.effect is Effect.READ)
    assert hints["destructiveHint"] is (traits.effect is Effect.IRREVERSIBLE)


def test_the_definition_changes_when_the_request_does() -> None:
    """The same tool, sent elsewhere: what is pinned must not match it."""
    query = [{"name": "q", "in": "query", "schema": {"type": "string"}}]
    header = [{"name": "q", "in": "header", "schema": {"type": "string"}}]
    asked = {
        made(described({path: {method: op(parameters=parameters)}}))[0].definition["annotations"]["io.toolgate/request"]
        for path, method, parameters in [("/a", "get", query), ("/b", "get", query), ("/a", "get", header)]
    }
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("said", "description"),
    [
        ({}, "GET /a"),
        ({"summary": "Short"}, "Short"),
        ({"summary": "Short", "description": "Long"}, "Short\n\nLong"),
        ({"summary": "Short", "description": "Short and long"}, "Short and long"),
        ({"description": "x" * 9000}, "x" * 8000),
    ],
)
def test_the_description_is_what_the_api_says_of_it(said: dict[str, str], description: str) -> None:
    assert made(described({"/a": {"get": op(**said)}}))[0].definition["description"] == description


def test_parameters_become_arguments_and_keep_their_places() -> None:
    parameters = [
        {"name": "id", "in": "query", "schema": {"type": "string"}, "description": "Which."},
        {"name": "X-Tags", "in": "header", "schema": {"type": "array", "items": {"type": "string"}}},
        {"name": "seen", "in": "cookie", "schema": {"type": "string"}},
        {"name": "filter[a]", "in": "query", "style": "deepObject", "schema": {"type": "object"}, "required": True},
        {"name": "body", "in": "query", "explode": False, "schema": {"type": "array"}},
        {"name": "where", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}},
        {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
        {"name": "api_key", "in": "query", "schema": {"type": "string"}, "required": True},
    ]
    shared = [
        {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}},
        {"name": "seen", "in": "cookie", "schema": {"type": "integer"}, "required": True},
    ]
    paths = {"/a/{id}": {"parameters": shared, "get": op(parameters=parameters)}}
    (operation,) = made(described(paths), filled=lambda place, name: name == "api_key")
    assert operation.parts == (
        Part("id", "id", Place.PATH, Style.SIMPLE, explode=False),
        Part("seen", "seen", Place.COOKIE, Style.FORM),
        Part("query_id", "id", Place.QUERY),
        Part("X-Tags", "X-Tags", Place.HEADER, Style.SIMPLE, explode=False),
        Part("filter_a", "filter[a]", Place.QUERY, Style.DEEP, explode=False),
        Part("query_body", "body", Place.QUERY, explode=False),
        Part("where", "where", Place.QUERY, Style.JSON, explode=False),
    )
    schema = operation.definition["inputSchema"]
    assert schema["required"] == ["id", "filter_a"]
    assert schema["properties"]["seen"] == {"type": "string"}
    assert schema["properties"]["query_id"] == {"type": "string", "description": "Which."}
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("content", "body"),
    [
        ({"application/json": {"schema": {}}}, Body("body")),
        ({"text/xml": {}, "application/merge-patch+json": {}}, Body("body", media="application/merge-patch+json")),
        ({"*/*": {"schema": {}}}, Body("body")),
        ({Form.URLENCODED.value: {}}, Body("body", media=Form.URLENCODED.value, form=Form.URLENCODED)),
    ],
)
def test_a_body_is_the_argument_body(content: dict[str, Any], body: Body) -> None:
    described_body = {"content": content, "required": True, "description": "What."}
    (operation,) = made(described({"/a": {"post": op(requestBody=described_body)}}))
    assert operation.body == body
    schema = operation.definition["inputSchema"]
    assert (schema["required"], schema["properties"]["body"]) == (["body"], {"description": "What."})


@pytest.mark.parametrize(
    "operation",
    [
        {"requestBody": {"content": {"multipart/form-data": {}}}},
        {"requestBody": {"content": {}}},
        {"requestBody": {"$ref": "other.yaml#/body"}},
        {"requestBody": {"$ref": "#/components/nothing"}},
        {"requestBody": {"$ref": "#/components/loop"}},
        {"requestBody": 7},
        {"parameters": [7]},
        {"parameters": [{"name": "a", "in": "path", "style": "matrix", "schema": {}}]},
        {"parameters": [{"name": "a", "in": "query", "style": "simple", "schema": {}}]},
        {"parameters": [{"name": "a", "in": "query", "content": {"text/xml": {}}}]},
        {"parameters": [{"name": "a", "in": "query", "content": {Form.URLENCODED.value: {}}}]},
        {"parameters": [{"name": "a", "in": "somewhere", "schema": {}}]},
        {"parameters": [{"name": "a", "in": "query", "schema": {"$ref": "http://evil.example/s"}}]},
        {"parameters": [{"name": "a", "in": "query", "schema": {"$ref": "file:///etc/passwd"}}]},
        {"parameters": [{"name": "a", "in": "query", "schema": {"$id": "http://evil.example/"}}]},
        {"parameters": [{"name": "a", "in": "query", "schema": 7}]},
        {"responses": {"100": {}}},
        {"responses": {"6XX": {}}},
        {"responses": {"oops": {}}},
    ],
)
def test_what_cannot_be_called_or_understood_fails_the_load_and_says_where(operation: dict[str, Any]) -> None:
    loop = {"loop": {"$ref": "#/components/loop"}}
    with pytest.raises(SpecRefused, match=r"^GET /a: "):
        made(described({"/a": {"get": op(**operation)}}, components=loop))


def test_a_path_is_never_sent_with_a_hole_in_it() -> None:
    with pytest.raises(SpecRefused, match=r"no parameter fills \{id\}"):
        made(described({"/a/{id}": {"get": op()}}))


def test_a_failure_that_is_described_has_a_meaning() -> None:
    paths = {"/a": {"get": op(responses={"204": {}, "302": {}, "4XX": {}, "500": {}, "default": {}, "x-y": {}})}}
    assert made(described(paths))
    assert made(described(paths), failures=Failures({"404": Action.UNAVAILABLE}))


SCHEMAS = {
    "Pet": {
        "type": "object",
        "required": ["id", "name", "secret"],
        "properties": {
            "id": {"type": "integer", "readOnly": True},
            "secret": {"type": "string", "writeOnly": True},
            "name": {"type": "string", "nullable": True, "enum": ["a", "b"]},
            "parent": {"$ref": "#/components/schemas/Pet"},
            "age": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "exclusiveMaximum": False, "maximum": 9},
            "owner": {"allOf": [{"$ref": "#/components/schemas/Owner"}], "nullable": True},
            "anything": True,
            "nothing": False,
        },
        "example": {"id": 1},
    },
    "Owner": {"type": "object", "additionalProperties": {"type": "string"}, "discriminator": {"propertyName": "x"}},
}


def with_pets(**operation: Any) -> Any:
    return made(described({"/a": {"post": op(**operation)}}, components={"schemas": SCHEMAS}))[0]


def json_of(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def test_a_schema_holds_all_it_needs_and_a_circle_stays_one() -> None:
    pet = {"$ref": "#/components/schemas/Pet"}
    operation = with_pets(requestBody=json_of(pet), responses={"200": json_of(pet)})
    accepts, gives = operation.definition["inputSchema"], operation.definition["outputSchema"]
    good = {"name": None, "secret": "s", "parent": {"name": "a", "secret": "t"}, "age": 9, "owner": None}
    checker = jsonschema_rs.validator_for(accepts)
    assert checker.is_valid({"body": good})
    for bad in ({"name": "c"}, {"age": 0}, {"parent": {}}, {"owner": {"a": 1}}, {"nothing": 1}):
        assert not checker.is_valid({"body": {**good, **bad}}), bad
    assert jsonschema_rs.validator_for(gives).is_valid({"id": 1, "name": "a", "parent": {"id": 2, "name": None}})
    assert not jsonschema_rs.validator_for(gives).is_valid({"name": "a"})
    assert "secret" not in str(gives)
    assert gives["type"] == "object"


@pytest.mark.parametrize(
    ("responses", "wrapped", "has"),
    [
        ({"200": json_of({"$ref": "#/components/schemas/Pet"})}, False, True),
        ({"200": json_of({"type": "array", "items": {"type": "string"}})}, True, True),
        ({"200": json_of({"allOf": [{"$ref": "#/components/schemas/Pet"}]})}, False, True),
        ({"2XX": json_of({"type": "string"}), "default": json_of({"type": "object"})}, True, True),
        ({"200": json_of({"type": "object"})}, False, False),
        ({"200": json_of({})}, False, False),
        ({"200": json_of({"description": "whatever"})}, False, False),
        ({"200": json_of(True)}, False, False),
        ({"200": json_of({"type": "string"}), "202": {}}, False, False),
        ({"200": {"content": {"text/plain": {}, "application/json": 7}}}, False, False),
        ({"204": {}}, False, False),
        ({"default": json_of({"type": "string"})}, False, False),
        ({"200": json_of({"type": ["object", "null"], "properties": {"a": {}}})}, False, False),
        ({"200": json_of({"type": "string", "description": "x" * 70_000})}, False, False),
    ],
)
def test_answers_are_held_against_a_schema_that_says_something(responses: Any, wrapped: bool, has: bool) -> None:
    operation = with_pets(responses=responses)
    assert ("outputSchema" in operation.definition, operation.wrapped) == (has, wrapped)


def test_answers_can_be_left_unchecked() -> None:
    paths = {"/a": {"get": op(responses={"200": json_of({"type": "string"})})}}
    assert "outputSchema" not in made(described(paths), outputs=False)[0].definition


def test_where_an_answer_says_that_there_is_more_is_read_from_its_schema() -> None:
    page = {"allOf": [{"properties": {"next_cursor": {"type": "string"}}}, {"$ref": "#/components/schemas/Rest"}]}
    rest = {"properties": {"meta": {"$ref": "#/components/schemas/Meta"}, "links": {"type": "object"}}}
    schemas = {"Rest": rest, "Meta": {"properties": {"has_more": {"type": "boolean"}, "count": {}}}}
    paths = {"/a": {"get": op(responses={"200": json_of(page)})}}
    (operation,) = made(described(paths, components={"schemas": schemas}))
    assert operation.more == (("next_cursor",), ("meta", "has_more"))


def test_a_schema_made_of_itself_says_nothing() -> None:
    loop = {"Loop": {"allOf": [{"$ref": "#/components/schemas/Loop"}]}}
    paths = {"/a": {"get": op(responses={"200": json_of({"$ref": "#/components/schemas/Loop"})})}}
    (operation,) = made(described(paths, components={"schemas": loop}))
    assert operation.more == ()


def test_todays_schemas_stay_as_they_are() -> None:
    schema = {
        "type": ["string", "null"],
        "$ref": "#/components/schemas/Name",
        "if": {"minLength": 3},
        "then": {"pattern": "^a"},
        "items": {"prefixItems": [{"const": 1}], "items": False},
        "patternProperties": {"^x": {"type": "string"}},
        "examples": ["x"],
    }
    names = {"Name": {"type": "string"}, "Other": {"properties": {"Name": {"type": "integer"}}}}
    other = {"$ref": "#/components/schemas/Other/properties/Name"}
    parameters = [{"name": "q", "in": "query", "schema": schema}, {"name": "r", "in": "query", "schema": other}]
    paths = {"/a": {"get": op(parameters=parameters)}}
    (operation,) = made(described(paths, "3.1.0", components={"schemas": names}))
    made_schema = operation.definition["inputSchema"]
    assert made_schema["properties"]["q"] == {
        **{key: value for key, value in schema.items() if key != "examples"},
        "$ref": "#/$defs/Name",
        "items": {"prefixItems": [{"const": 1}], "items": {"not": {}}},
    }
    assert made_schema["properties"]["r"] == {"$ref": "#/$defs/Name_2"}
    assert made_schema["$defs"] == {"Name": {"type": "string"}, "Name_2": {"type": "integer"}}


def test_a_schema_without_end_fails_the_load() -> None:
    deep: Any = {"type": "string"}
    for _ in range(45):
        deep = {"items": deep}
    wide = {f"s{number}": {"$ref": f"#/components/schemas/s{number + 1}"} for number in range(600)}
    for schema, schemas in (({"items": {"items": {"items": {"items": {"items": {"items": deep}}}}}}, {}), ({}, wide)):
        node = schema or {"items": {"$ref": "#/components/schemas/s0"}}
        paths = {"/a": {"get": op(parameters=[{"name": "q", "in": "query", "schema": node}])}}
        with pytest.raises(SpecRefused):
            made(described(paths, components={"schemas": {**schemas, "s600": {}}}))


HEAD = b"openapi: 3.0.0\npaths: {}\n"
YAML = b"""
openapi: "3.0.0"
info: { title: t, version: 2020-01-01 }
paths:
  /a:
    get:
      operationId: it
      description: 2020-01-01
      summary: on
      deprecated: true
      responses:
        204: { description: done }
"""


def test_a_description_can_be_yaml_and_a_date_in_it_is_text() -> None:
    document = Document.read(YAML)
    assert document.root["info"]["version"] == "2020-01-01"
    operation = document.root["paths"]["/a"]["get"]
    assert (operation["summary"], operation["deprecated"]) == ("on", True)
    assert list(document.root["paths"]["/a"]["get"]["responses"]) == ["204"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b'{"openapi": "3.0.0", "openapi": "3.0.0", "paths": {}}',
        b'{"openapi": "3.0.0"}',
        b'{"openapi": "4.0.0", "paths": {}}',
        b'{"openapi": "3.0.0", "paths": []}',
        b"a: [1",
        b"a: 1\na: 2",
        b"? [a]\n: 1",
        HEAD + b"a: !!python/object/apply:os.system [id]",
        HEAD + b"a: !!set {b}",
        HEAD + b"a: !!binary aGk=",
        HEAD + b"a: .nan",
        HEAD + b"a: &x {b: 1}\nc: {<<: *x}",
        HEAD + b"a: &x [*x]",
        HEAD
        + b"a0: &a0 [1]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)),
        b"[" * 5000,
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_description_is_refused(text: bytes) -> None:
    with pytest.raises(SpecRefused):
        Document.read(text)


def test_a_reference_can_lead_through_lists_and_escaped_names() -> None:
    document = Document.read(b'{"openapi": "3.0.0", "paths": {"/a~b": {"parameters": [{"name": "q"}]}}}')
    assert document.at("#/paths/~1a~0b/parameters/0") == {"name": "q"}
    for nowhere in ("#/paths/~1a~0b/parameters/1", "#/paths/~1a~0b/parameters/x", "#/openapi/x", "paths", "#paths"):
        with pytest.raises(SpecRefused):
            document.at(nowhere)


def test_swagger_is_read_in_todays_words() -> None:
    text = {"type": "string"}
    parameters = [
        {"name": "a", "in": "query", "type": "array", "items": text, "collectionFormat": "multi"},
        {"name": "b", "in": "query", "type": "array", "items": text},
        {"name": "c", "in": "query", "type": "array", "items": text, "collectionFormat": "ssv"},
        {"name": "d", "in": "query", "type": "array", "items": text, "collectionFormat": "pipes"},
        {"name": "e", "in": "path", "type": "integer", "required": True, "x-nullable": True},
        {"$ref": "#/parameters/F"},
    ]
    body = {"name": "pet", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Pet"}}
    fields = [
        {"name": "g", "in": "formData", "type": "string", "required": True, "description": "G."},
        {"name": "h", "in": "formData", "type": "file"},
    ]
    paths = {
        "/a/{e}": {"post": op(parameters=[*parameters, body], responses={"200": {"$ref": "#/responses/Pet"}})},
        "/b": {"post": op(operationId="form", parameters=fields)},
        "/c": {"post": op(operationId="files", parameters=fields, consumes=["multipart/form-data"])},
        "/d": {"get": op(operationId="tabs", parameters=[{**parameters[0], "collectionFormat": "tsv"}])},
    }
    more = {
        "definitions": {"Pet": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "parameters": {"F": {"name": "X-F", "in": "header", "type": "string"}},
        "responses": {"Pet": {"schema": {"$ref": "#/definitions/Pet"}}},
        "produces": ["application/json"],
    }
    swagger = described(paths, "2.0", **more)
    (operation,) = made(swagger)
    assert [(part.name, part.style, part.explode) for part in operation.parts] == [
        ("a", Style.FORM, True),
        ("b", Style.FORM, False),
        ("c", Style.SPACE, False),
        ("d", Style.PIPE, False),
        ("e", Style.SIMPLE, False),
        ("X-F", Style.SIMPLE, False),
    ]
    assert operation.body == Body("body")
    schema = operation.definition["inputSchema"]
    assert (schema["required"], schema["properties"]["e"]) == (["e", "body"], {"type": ["integer", "null"]})
    assert operation.definition["outputSchema"]["properties"] == {"n": {"type": "integer"}}
    (form,) = made(swagger, "form")
    assert form.body == Body("body", media=Form.URLENCODED.value, form=Form.URLENCODED)
    assert form.definition["inputSchema"]["properties"]["body"] == {
        "type": "object",
        "properties": {"g": {"type": "string", "description": "G."}, "h": {"type": "string", "description": ""}},
        "required": ["g"],
    }
    for wanted in ("files", "tabs"):
        with pytest.raises(SpecRefused, match="not supported"):
            made(swagger, wanted)


def test_many_parameters_of_one_name_stay_apart() -> None:
    names = ["a!", "a?", "a$", "a&"]
    parameters = [{"name": name, "in": "query", "schema": {}} for name in names]
    (operation,) = made(described({"/a": {"get": op(parameters=parameters)}}))
    assert [part.argument for part in operation.parts] == ["a", "query_a", "a_2", "a_3"]
    parameters = [{"name": f"a{'!' * number}", "in": "query", "schema": {}} for number in range(101)]
    with pytest.raises(SpecRefused, match="too many"):
        made(described({"/a": {"get": op(parameters=parameters)}}))
