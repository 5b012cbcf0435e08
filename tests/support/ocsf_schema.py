"""OCSF's own schema of a detection finding."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema


@pytest.fixture(scope="module")
def ocsf() -> Draft202012Validator:
    """OCSF 1.8.0's own schema of class 2004, offline."""
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0")).get_class_schema("detection_finding")
    return Draft202012Validator(schema)
