"""Contract for other languages: a JSON Schema per topic and one AsyncAPI document, generated from the models.

`python -m schemas.export` writes them to `schemas/json/`, where they are committed; a test checks that they are
current.
"""

import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from schemas.tenancy import TENANT_HEADER
from schemas.topics import TOPICS, Topic

CONTRACT_VERSION: Final = "1.0.0"
ASYNCAPI_VERSION: Final = "3.0.0"
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DEFAULT_PARTITIONS: Final = 8

HERE: Final = Path(__file__).parent
COMMITTED: Final = HERE / "json"
EXAMPLES: Final = HERE / "examples"

Json = dict[str, Any]

_ACTIONS: Final[dict[str, tuple[Literal["receive", "send"], ...]]] = {
    "input": ("receive",),
    "internal": ("send", "receive"),
    "output": ("send",),
    "control": ("receive",),
}


_HEADERS: Final[Json] = {
    "type": "object",
    "properties": {
        TENANT_HEADER: {
            "type": "string",
            "description": (
                "the event's tenant, in UTF-8, as the gateway before the topic knows it; required if tenancy is on"
            ),
        }
    },
}


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out the titles that pydantic derives from field names: they add nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def export(directory: Path) -> list[Path]:
    """Write every document into *directory*, which is created if needed; returns the paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, document in documents().items():
        path = directory / name
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    return written


def documents() -> dict[str, Json]:
    """Every document by its file name."""
    schemas = {schema_file(topic): message_schema(topic) for topic in TOPICS.values()}
    return {**schemas, "asyncapi.json": asyncapi()}


def schema_file(topic: Topic) -> str:
    """The name of the file with the schema of a topic's records."""
    return f"{topic.name}.schema.json"


def message_schema(topic: Topic) -> Json:
    """The JSON Schema (draft 2020-12) of a topic's records. Fields that it does not name are ignored."""
    schema = topic.model.model_json_schema(schema_generator=_WithoutTitles)
    return {"$schema": DIALECT, "$id": f"urn:session-risk:{topic.name}:{CONTRACT_VERSION}", **schema}


def asyncapi(partitions: int = DEFAULT_PARTITIONS) -> Json:
    """The AsyncAPI document, where topics with the shared partition count have *partitions*."""
    topics = TOPICS.values()
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "session-risk",
            "version": CONTRACT_VERSION,
            "description": (
                "Device telemetry, API calls and authentication events in; decisions, revocations and "
                "findings out. JSON objects, one per Kafka record; times are integer milliseconds since the "
                "epoch, UTC; null and absent both mean unknown. Keys are UTF-8, partitioned by murmur2."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic, partitions) for topic in topics},
        "operations": {
            f"{action}-{topic.name}": _operation(topic, action)
            for topic in topics
            for action in _ACTIONS[topic.direction]
        },
        "components": {
            "messages": {topic.model.__name__: _message(topic) for topic in topics},
            "schemas": _component_schemas(),
        },
    }


def _channel(topic: Topic, partitions: int) -> Json:
    config: Json = {"cleanup.policy": [topic.cleanup]}
    if topic.retention_ms is not None:
        config["retention.ms"] = topic.retention_ms
    return {
        "address": topic.name,
        "description": topic.text,
        "messages": {topic.model.__name__: {"$ref": f"#/components/messages/{topic.model.__name__}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions(partitions),
                "topicConfiguration": config,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operation(topic: Topic, action: str) -> Json:
    channel = f"#/channels/{topic.name}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": topic.text,
        "messages": [{"$ref": f"{channel}/messages/{topic.model.__name__}"}],
    }


def _message(topic: Topic) -> Json:
    key: Json = {"type": "string", "description": f"the record's {topic.key}, in UTF-8"}
    if topic.key is None:
        key = {"description": "the key of the record that could not be read, as it was"}
    return {
        "name": topic.model.__name__,
        "summary": topic.text,
        "contentType": "application/json",
        **({"headers": _HEADERS} if topic.checks_tenant else {}),
        "payload": {"$ref": f"#/components/schemas/{topic.model.__name__}"},
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
        "examples": [
            {"name": path.stem, "payload": json.loads(path.read_text(encoding="utf-8"))}
            for path in sorted((EXAMPLES / topic.name / "valid").glob("*.json"))
        ],
    }


def _component_schemas() -> Json:
    """The schemas of all models, which AsyncAPI has here and a single JSON Schema in its `$defs`."""
    _, definitions = models_json_schema(
        [(topic.model, "validation") for topic in TOPICS.values()],
        ref_template="#/components/schemas/{model}",
        schema_generator=_WithoutTitles,
    )
    schemas: Json = definitions["$defs"]
    return schemas


if __name__ == "__main__":
    export(COMMITTED)
