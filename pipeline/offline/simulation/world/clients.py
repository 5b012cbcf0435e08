"""Client software: user agents with TLS fingerprints. Tables only.

The fingerprints have the form of JA4 (FoxIO, technical specification 2023), but are not those of real clients.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Client:
    """A program of a certain version; *template* is its user agent."""

    template: str
    version: int

    def __str__(self) -> str:
        return self.template.format(self.version)

    def fields(self) -> dict[str, Any]:
        """Return the event fields of this program."""
        digest = sha256(f"{self.template}/{self.version}".encode()).hexdigest()
        return {
            "user_agent": str(self),
            "ja4": f"t13d1516h2_{digest[:12]}_{digest[12:24]}",
        }

    def updated(self) -> Client:
        """Return the same program one version later: another user agent, another fingerprint."""
        return Client(self.template, self.version + 1)


_WEBKIT: Final = "AppleWebKit/537.36 (KHTML, like Gecko)"

BROWSERS: Final[dict[str, tuple[Client, ...]]] = {
    "macos": (
        Client(f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Chrome/{{}}.0.0.0 Safari/537.36", 145),
        Client("Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", 147),
    ),
    "windows": (
        Client(f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/{{0}}.0.0.0 Edg/{{0}}.0.0.0", 145),
        Client(f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/{{}}.0.0.0 Safari/537.36", 145),
    ),
    "linux": (Client("Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", 147),),
}
"""The browsers of each laptop platform."""

APPS: Final[dict[str, Client]] = {
    "ios": Client("WorkCompanion/{}.0 (iPhone; iOS 18.3) CFNetwork/3826.400.120", 31),
    "android": Client("WorkCompanion/{}.0 (Android 15; Pixel 9) okhttp/4.12.0", 31),
}
"""The app of each phone platform."""

ASSISTANTS: Final[dict[str, Client]] = {
    "ios": Client("HandsetAssistant/{}.2 (iPhone; iOS 18.3; on-device agent)", 4),
    "android": Client("HandsetAssistant/{}.2 (Android 15; on-device agent)", 4),
}
"""The AI agent of each phone platform."""

SERVICE_CLIENT: Final = Client("Go-http-client/{}.1", 2)
KEY_CLIENT: Final = Client("python-requests/2.{}.3", 32)

INTRUDERS: Final = (
    Client("python-requests/2.{}.0", 31),
    Client("Python/3.12 aiohttp/3.{}.2", 9),
    Client("curl/8.{}.0", 12),
    Client("python-httpx/0.{}.0", 27),
    Client(f"Mozilla/5.0 (X11; Linux x86_64) {_WEBKIT} HeadlessChrome/{{}}.0.0.0 Safari/537.36", 139),
    Client("Java/21.0.{}", 4),
)
"""Software with which stolen cookies are replayed. The worlds get alternate rows of the tables of intruders."""

COPIES: Final = (
    Client("Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0", 128),
    Client(f"Mozilla/5.0 (Windows NT 10.0; WOW64) {_WEBKIT} Chrome/{{}}.0.0.0 Safari/537.36", 124),
    Client(f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {_WEBKIT} Chrome/{{}}.0.0.0 Safari/537.36", 126),
    Client(f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/{{}}.0.0.0 Vivaldi/6.7", 122),
)
"""Browsers with which intruders sign in themselves, by hand or through a proxy."""

BURNERS: Final = (
    Client("WorkCompanion/{}.0 (Android 11; SM-A125F) okhttp/4.9.3", 24),
    Client("WorkCompanion/{}.0 (Android 12; Redmi 9A) okhttp/4.10.0", 26),
    Client("WorkCompanion/{}.0 (iPhone; iOS 16.7) CFNetwork/1410.0.3", 25),
    Client("WorkCompanion/{}.0 (Android 13; moto g10) okhttp/4.11.0", 27),
)
"""The app on the phones of intruders."""
