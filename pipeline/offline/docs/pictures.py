"""The two pictures of the README: how data flows, and a terminal that shows `make demo`; both SVG, without a library.

``make docs`` draws the flow. ``python -m pipeline.offline.docs.pictures`` runs the demonstration and draws what it
printed; a test compares that picture with the output of a demonstration.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from subprocess import run
from typing import Final, NamedTuple

PICTURES: Final = Path(__file__).parents[3] / "deploy" / "pictures"
FLOW: Final = PICTURES / "flow.svg"
DEMO: Final = PICTURES / "demo.svg"

SANS: Final = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
MONO: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
INK, SOFT, LINE, PAPER = "#1f2937", "#6b7280", "#94a3b8", "#ffffff"
BLUE, VIOLET, RED = ("#eff6ff", "#3b82f6"), ("#f5f3ff", "#7c3aed"), ("#fef2f2", "#ef4444")
AMBER, GREEN = ("#fffbeb", "#f59e0b"), ("#f0fdf4", "#22c55e")


class Box(NamedTuple):
    """A box of the flow: left, top, width, height in px, fill and border, title, and the line below it."""

    x: int
    y: int
    width: int
    height: int
    colours: tuple[str, str]
    title: str
    text: str = ""


INPUTS: Final = (
    Box(24, 92, 190, 56, BLUE, "device telemetry", "MDM, MTD, in-app SDK"),
    Box(24, 177, 190, 56, BLUE, "auth events", "identity provider"),
    Box(24, 252, 190, 56, BLUE, "API calls", "gateway, agent tools"),
)
CONTEXTS: Final = Box(290, 92, 160, 56, VIOLET, "contexts", "device, principal, network")
SESSION: Final = Box(290, 184, 160, 124, VIOLET, "session state", "")
STEPS: Final = (
    Box(476, 184, 98, 52, VIOLET, "detections", ""),
    Box(476, 256, 98, 52, VIOLET, "model", "anomaly"),
    Box(590, 220, 118, 52, VIOLET, "policy engine", "one sum, reasons"),
)
OUTPUTS: Final = (
    Box(742, 92, 194, 56, RED, "revoke · step up", "gateway, identity provider"),
    Box(742, 172, 194, 56, AMBER, "SSF / CAEP tokens", "transmitter → Okta, Google"),
    Box(742, 252, 194, 56, GREEN, "decision + reasons", "SOC, SIEM (OCSF)"),
)


def flow(features: int, detections: int) -> str:
    """The picture of how data flows, with the numbers of *features* and *detections*."""
    steps = [box._replace(text=f"{detections}") if box.title == "detections" else box for box in STEPS]
    parts = [
        _rect(8, 8, 944, 384, PAPER, "#e5e7eb", radius=14),
        *(_label(x, 60, text) for x, text in ((119, "what you send"), (839, "what comes out"))),
        _rect(266, 36, 456, 296, "#fafaff", "#c4b5fd", radius=12, dashed=True),
        _label(494, 64, "a worker"),
        *(piece for box in (*INPUTS, CONTEXTS, SESSION, *steps, *OUTPUTS) for piece in _box(box)),
        *(_label(370, y, text, size=12) for y, text in ((240, f"{features} features"), (262, "that fade with time"))),
        *(_arrow(214, y, 290, y) for y in (120, 205, 280)),
        _arrow(352, 148, 352, 184),
        _arrow(388, 184, 388, 148),
        *(_arrow(450, y, 476, y) for y in (210, 282)),
        f'<path d="M574 210 H582 V238 H590" {_STROKE}/>',
        f'<path d="M574 282 H582 V254 H590" {_STROKE}/>',
        *(f'<path d="M708 246 H731 V{y} H742" {_STROKE}/>' for y in (120, 200, 280)),
        f'<path d="M839 308 V352 H649 V272" {_STROKE} stroke-dasharray="4 4"/>',
        _label(740, 374, "verdicts of people, acknowledgements of enforcers", size=11),
        _label(119, 338, "each of these is a Kafka topic", size=11),
    ]
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" fill="{LINE}"/></marker></defs>'
    )
    title = "Device telemetry, auth events and API calls become one row of state per session and then decisions."
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 400" font-family="{escape(SANS)}" role="img">'
    return "\n".join([head, f"<title>{title}</title>", marker, *parts, "</svg>", ""])


_STROKE: Final = f'fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#tip)"'


def _box(box: Box) -> Iterator[str]:
    yield _rect(box.x, box.y, box.width, box.height, *box.colours)
    middle = box.x + box.width // 2
    lines = 2 if box.text else 1
    top = box.y + 30 if box.height > 100 else box.y + box.height // 2 + (-4 if lines == 2 else 5)
    yield _label(middle, top, box.title, colour=INK, weight=600, size=14)
    if box.text:
        yield _label(middle, top + 18, box.text, size=11)


def _rect(  # noqa: PLR0913 - a shape has members
    x: int, y: int, width: int, height: int, fill: str, border: str, *, radius: int = 8, dashed: bool = False
) -> str:
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" '
        f'fill="{fill}" stroke="{border}" stroke-width="1.4"{dash}/>'
    )


def _label(x: int, y: int, text: str, *, size: int = 13, colour: str = SOFT, weight: int = 400) -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="middle" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    return f'<path d="M{x} {y} L{to_x} {to_y}" {_STROKE}/>'


# --- The terminal ---

COLUMNS: Final = 98
CHARACTER, LINE_HEIGHT, MARGIN, TOP = 7.8, 19, 22, 58
_COLOURS: Final = {"HIGH": "#f87171", "revoke": "#f87171", "MEDIUM": "#fbbf24", "step_up": "#fbbf24", "✔": "#4ade80"}


def excerpt(output: str) -> list[str]:
    """The lines of a demonstration's *output* that the picture shows: all but the decoded token and the long table."""
    lines = [line.rstrip() for line in output.splitlines()]
    token = next(number for number, line in enumerate(lines) if line.startswith("the first of them"))
    return ["$ make demo", "", *lines[:token], lines[-1]]


def terminal(lines: Sequence[str]) -> str:
    """The picture of a terminal with *lines*."""
    width, height = round(2 * MARGIN + COLUMNS * CHARACTER), TOP + LINE_HEIGHT * len(lines) + MARGIN // 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="{escape(MONO)}" '
        'font-size="13" role="img">'
    )
    dots = "".join(
        f'<circle cx="{MARGIN + 18 * number}" cy="24" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    frame = f'<rect width="{width}" height="{height}" rx="10" fill="#0f172a"/>'
    rows = [_row(TOP + LINE_HEIGHT * number, line) for number, line in enumerate(lines) if line]
    return "\n".join([head, "<title>The output of make demo</title>", frame, dots, *rows, "</svg>", ""])


def _row(y: int, line: str) -> str:
    length = f'textLength="{len(line) * CHARACTER:.1f}" lengthAdjust="spacingAndGlyphs"'
    words = "".join(_coloured(word) for word in _words(line))
    return f'<text x="{MARGIN}" y="{y}" xml:space="preserve" {length} fill="#e2e8f0">{words}</text>'


def _words(line: str) -> Iterator[str]:
    """Yield the words of *line* and the blanks between them."""
    word = ""
    for character in line:
        if word and (character == " ") != word.endswith(" "):
            yield word
            word = ""
        word += character
    yield word


def _coloured(word: str) -> str:
    return f'<tspan fill="{_COLOURS[word]}">{escape(word)}</tspan>' if word in _COLOURS else escape(word)


if __name__ == "__main__":
    program = Path(sys.executable).with_name("session-risk")
    done = run([program, "demo"], check=True, capture_output=True, text=True)
    DEMO.write_text(terminal(excerpt(done.stdout)), "utf-8")
    sys.stdout.write(f"wrote {DEMO}\n")
