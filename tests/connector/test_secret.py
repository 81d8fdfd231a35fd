"""A secret is read in one place and shown in none."""

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.connector import ConnectorConfig, Secret


class Config(ConnectorConfig):
    key: Secret


def read(text: Any, **environ: str) -> Secret:
    return Config.model_validate({"key": text}, context={"environ": environ}).key


def test_references_are_replaced_wherever_they_stand() -> None:
    assert read("${env:A}", A="x").reveal() == "x"
    assert read("Bearer ${env:A}-${env:B}", A="x", B="y").reveal() == "Bearer x-y"
    assert read("$A {env:A} plain", A="x").reveal() == "$A {env:A} plain"
    assert read("${env:A}", A="${env:B}").reveal() == "${env:B}"
    assert read(Secret("${env:A}")).reveal() == "${env:A}"


def test_without_an_environment_given_the_processs_own_is_read() -> None:
    assert Config.model_validate({"key": "${env:PATH}"}).key.reveal()


def test_text_whose_references_were_replaced_before_is_taken_as_it_is() -> None:
    assert Config.model_validate({"key": "pa${env:PATH}$"}, context={"environ": None}).key.reveal() == "pa${env:PATH}$"


@pytest.mark.parametrize("text", ["${env:GONE}", "${A}", "${secret:a}", "${env:}", "${env:A B}", 7, None, ["x"], b"x"])
def test_what_cannot_be_read_is_refused_without_showing_it(text: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        read(text, A="hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_secret_shows_nowhere() -> None:
    config = Config(key=Secret("hunter2"))
    texts = (repr(config), str(config), f"{config.key}", config.model_dump_json(), config.model_dump())
    assert "hunter2" not in str(texts)
    for write_out in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="never written out"):
            write_out(config.key)


def test_secrets_compare_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))


def test_a_schema_says_that_a_secret_is_one() -> None:
    assert Config.model_json_schema()["properties"]["key"] == {
        "type": "string",
        "format": "password",
        "writeOnly": True,
        "title": "Key",
    }
