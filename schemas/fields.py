"""Types of the fields of records, with their bounds, and groups of fields that several records have.

Names and ids are never empty. Free text may be empty: a client that sends an empty `User-Agent` must not be able to
make its own call unreadable. A value that is out of bounds makes the whole record invalid; but a producer's event is
repaired if the field is optional (`schemas.repairs`).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

SAFE_INTEGER = 2**53 - 1  # RFC 8259 §6: the integers on which every JSON implementation agrees
DAY_MS = 86_400_000
YEAR_2000_MS = 946_684_800_000
DEFAULT_TENANT = "default"

Name = Annotated[str, Field(min_length=1, max_length=64)]
Id = Annotated[str, Field(min_length=1, max_length=128)]
LongName = Annotated[str, Field(min_length=1, max_length=256)]
ShortText = Annotated[str, Field(max_length=256)]
Text = Annotated[str, Field(max_length=512)]
Millis = Annotated[int, Field(ge=0, le=SAFE_INTEGER)]
ProducerTime = Annotated[int, Field(ge=YEAR_2000_MS, le=SAFE_INTEGER)]  # seconds would be times in 1970
Count = Annotated[int, Field(ge=0, le=SAFE_INTEGER)]
HeartbeatMillis = Annotated[int, Field(ge=1_000, le=7 * DAY_MS)]
Address = Annotated[str, Field(min_length=1, max_length=64)]  # an IP address in text, RFC 4291 §2.2
Asn = Annotated[int, Field(ge=0, le=2**32 - 1)]  # RFC 6793: four octets
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]  # ISO 3166-1 alpha-2
Latitude = Annotated[float, Field(ge=-90, le=90)]
Longitude = Annotated[float, Field(ge=-180, le=180)]
IsoDate = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")]
Scope = Annotated[str, Field(min_length=1, max_length=256)]  # RFC 6749 §3.3
Technique = Annotated[str, Field(pattern=r"^T[0-9]{4}(\.[0-9]{3})?$")]  # MITRE ATT&CK

PrincipalKind = Literal["human", "service", "api_key", "agent"]
NetworkType = Literal["wifi", "cellular", "ethernet", "vpn", "hosting", "tor", "unknown"]
Attestation = Literal["none", "basic", "device", "strong", "virtual", "failed", "unevaluated"]
Level = Literal["LOW", "MEDIUM", "HIGH"]  # CAEP 1.0 §3.8
Action = Literal["allow", "step_up", "hold_for_approval", "revoke"]
Mode = Literal["enforce", "observe"]


def _default_tenant(value: Any) -> Any:
    return DEFAULT_TENANT if value is None else value


Tenant = Annotated[Name, BeforeValidator(_default_tenant, json_schema_input_type=Name | None)]


class Message(BaseModel):
    """The value of a Kafka record: JSON types are checked strictly, unknown fields are ignored.

    So `true` and `1.0` are not integers, `"5"` is not a number, and NaN and infinity are refused.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


class Envelope(Message):
    """The first fields of every event: a repeated `event_id` is the same event; `occurred_at` is when it happened."""

    type: str
    event_id: Id
    occurred_at: Millis
    tenant: Tenant = DEFAULT_TENANT


class Client(Message):
    """The client's network and software, as the producer saw them."""

    ip: Address | None = None
    asn: Asn | None = None
    country: Country | None = None
    latitude: Latitude | None = None
    longitude: Longitude | None = None
    network_type: NetworkType | None = None
    user_agent: Text | None = None
    ja4: Name | None = None


class Home(Message):
    """For a workload's credential: what it was issued for, and the network that should use it.

    `home_prefix` is the first three groups of an address: `192.0.2` (IPv4) or `2001:db8:1` (IPv6).
    """

    workload: Literal["instance", "container", "function", "ci"] | None = None
    home_asn: Asn | None = None
    home_prefix: Name | None = None


class Posture(Message):
    """The posture of a device, as it reports or attests it. `None` in a field means that it is not known."""

    sequence: Count | None = None
    heartbeat_interval_ms: HeartbeatMillis | None = None
    platform: Literal["ios", "android", "macos", "windows", "linux", "other"] | None = None
    os_version: Name | None = None
    patch_level: IsoDate | None = None
    managed: bool | None = None
    compliant: bool | None = None
    rooted: bool | None = None
    emulator: bool | None = None
    hooked: bool | None = None
    debugger: bool | None = None
    developer_mode: bool | None = None
    screen_lock: bool | None = None
    encrypted: bool | None = None
    app_signature_valid: bool | None = None
    attestation: Attestation | None = None
    attested_at: Millis | None = None
    malware: Literal["none", "detected", "quarantined"] | None = None
    malware_family: Id | None = None
    sim_id: Id | None = None
