"""Which members name a person, or what tells one apart, and on which topics they may leave as pseudonyms.

Everything here is a table; what a pseudonym is, `pipeline.processing.pseudonyms` knows.
"""

from typing import Final, Literal

from schemas.topics import TOPICS

Naming = Literal["principal_id", "device_id", "ip", "owner"]
"""What a name is of: a principal, a device, an address, or who gave a verdict."""

NAMING: Final[dict[str, Naming]] = {
    "principal_id": "principal_id",
    "device_id": "device_id",
    "ip": "ip",
    "owner": "owner",
    "reported_by": "owner",
    "issued_by": "owner",
}
"""Members that name somebody, wherever in a message they stand."""

NAMING_OBJECTS: Final[dict[str, Naming]] = {"user": "principal_id", "device": "device_id"}
"""OCSF's objects whose `uid` names somebody."""

KEYED_TOPICS: Final = frozenset(topic.name for topic in TOPICS.values() if topic.pseudonyms)
"""Where these members are pseudonyms, if the operators want any.

They are what people and their tools read and keep for long. Not commands: an enforcer that knows no sessions
ends what it knows, all of a principal's or a device's, and a transmitter has to name its subject as the other
side does. Not what workers tell each other, which nobody else may read. Inputs come with names from outside.
A session's id stays: by it everything is put together, and it names a session, no person.
"""

WITHHELD: Final = ("key", "value")
"""Members of a dead letter that are left out there: nobody knows where in such a record a name stands. The
record itself is where the letter says, for as long as its topic keeps it."""
