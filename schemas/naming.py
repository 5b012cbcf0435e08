"""Fields that identify a person, and the topics on which they can be replaced by pseudonyms.

Everything here is a table; pseudonyms are made by `pipeline.processing.pseudonyms`.
"""

from typing import Final, Literal

from schemas.topics import TOPICS

Naming = Literal["principal_id", "device_id", "ip", "owner"]
"""What a name identifies: a principal, a device, an address, or the person who gave a verdict."""

NAMING: Final[dict[str, Naming]] = {
    "principal_id": "principal_id",
    "device_id": "device_id",
    "ip": "ip",
    "owner": "owner",
    "reported_by": "owner",
    "issued_by": "owner",
}
"""Fields that identify somebody, wherever they are in a message."""

NAMING_OBJECTS: Final[dict[str, Naming]] = {"user": "principal_id", "device": "device_id"}
"""OCSF's objects whose `uid` identifies somebody."""

KEYED_TOPICS: Final = frozenset(topic.name for topic in TOPICS.values() if topic.pseudonyms)
"""The topics on which these fields are pseudonyms, if pseudonyms are configured.

These are the topics that people and their tools read and store for long. Commands are not among them: an enforcer that
does not know sessions revokes everything of a principal or a device, and a transmitter has to name its subject as the
receiver does. Internal topics are not among them, because only workers may read them. Inputs contain the producers'
names. A session's id is never replaced: records are joined by it, and it identifies a session, not a person.
"""

WITHHELD: Final = ("key", "value")
"""Fields of a dead letter that are left out there: it is not known where in such a record a name is. The record itself
is at the place in the letter, for as long as its topic retains it."""
