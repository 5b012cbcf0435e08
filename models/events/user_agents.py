"""Table of the kinds of program that a ``User-Agent`` (RFC 9110 §10.1.5) can name.

Words are searched for without regard to case; the first kind with a word in the string wins.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

UNKNOWN, BROWSER, TOOL, LIBRARY, BACKEND = 0, 1, 2, 3, 6
"""*BACKEND* has the bit of *TOOL*, so that one test of bits finds both."""
HANDSET: Final = 8
"""Added to the kind where the string names a handset."""

_TOOLS: Final = (
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "curl/",
    "wget/",
    "libwww-perl",
    "postmanruntime",
    "insomnia/",
    "powershell",
    "scrapy",
    "roadtools",
    "evilginx",
)
"""Programs that a person starts by hand, and browsers without a window."""
_BACKENDS: Final = (
    "python-requests",
    "python-urllib",
    "python-httpx",
    "httpx",
    "aiohttp",
    "go-http-client",
    "java/",
    "java-http-client",
    "apache-httpclient",
    "axios/",
    "node-fetch",
    "undici",
    "restsharp",
    "guzzlehttp",
)
"""Libraries that scripts use, and servers that call on behalf of a person, with that person's token."""
_LIBRARIES: Final = ("okhttp/", "cfnetwork/", "dalvik/", "alamofire/", "dart/", "dart:io")
"""Libraries that apps on handsets use, after their user signed in with the browser of the handset."""
_BROWSERS: Final = ("mozilla/", "firefox/", "chrome/", "safari/", "opera/", "edg/")
_HANDSETS: Final = ("iphone", "ipad", "android", "dalvik/", "windows phone")
KINDS: Final = ((TOOL, _TOOLS), (BACKEND, _BACKENDS), (LIBRARY, _LIBRARIES), (BROWSER, _BROWSERS))


@lru_cache(maxsize=4096)
def software_of(user_agent: str | None) -> int:
    """Return the kind of program, plus `HANDSET` if it runs on a handset.

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
