"""What kind of program a ``User-Agent`` (RFC 9110 §10.1.5) names: one table, looked up once for each string.

Words are looked for without regard to case; the first kind that has one in the string wins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

UNKNOWN, BROWSER, TOOL, LIBRARY = 0, 1, 2, 3
HANDSET: Final = 8
"""Added to the kind where the string names a handset."""

_TOOLS: Final = (
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "python-requests",
    "python-urllib",
    "httpx",
    "aiohttp",
    "curl/",
    "wget/",
    "go-http-client",
    "java/",
    "java-http-client",
    "apache-httpclient",
    "libwww-perl",
    "axios/",
    "node-fetch",
    "undici",
    "postmanruntime",
    "insomnia/",
    "powershell",
    "restsharp",
    "guzzlehttp",
    "scrapy",
    "roadtools",
    "evilginx",
)
"""What scripts call with; a browser without a window counts among them."""
_LIBRARIES: Final = ("okhttp/", "cfnetwork/", "dalvik/", "alamofire/", "dart/", "dart:io")
"""What apps of handsets call with, after their user has signed in with the handset's browser."""
_BROWSERS: Final = ("mozilla/", "firefox/", "chrome/", "safari/", "opera/", "edg/")
_HANDSETS: Final = ("iphone", "ipad", "android", "dalvik/", "windows phone")
KINDS: Final = ((TOOL, _TOOLS), (LIBRARY, _LIBRARIES), (BROWSER, _BROWSERS))


@lru_cache(maxsize=4096)
def software_of(user_agent: str | None) -> int:
    """The kind of program, and whether it is on a handset.

    >>> software_of("curl/8.5.0") == TOOL
    True
    >>> software_of("Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/145.0 Mobile") == BROWSER + HANDSET
    True
    """
    if not user_agent:
        return UNKNOWN
    text = user_agent.lower()
    kind = next((kind for kind, words in KINDS if any(word in text for word in words)), UNKNOWN)
    return kind + HANDSET * any(word in text for word in _HANDSETS)
