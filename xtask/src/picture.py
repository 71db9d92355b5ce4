"""Makes a picture (SVG) of what a program prints to a terminal.

    script -qec "countersign demo --once" /dev/null | python3 xtask/src/picture.py > docs/images/demo.svg
"""

import re
import sys
from html import escape

CELL, LINE, MARGIN = 8.43, 19, 18  # pixels, for a font of 14 pixels
CONTROL = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])")
STYLES = {"1": "b", "2": "d", "32": "g"}


def cells(line):
    """The last state of a line that was written over: pairs of character and style."""
    row, column, style, at = [], 0, "", 0
    while at < len(line):
        control = CONTROL.match(line, at)
        if control:
            at = control.end()
            if control[2] == "K":
                row, column = [], 0
            elif control[2] == "m":
                style = STYLES.get(control[1], "")
        elif line[at] == "\r":
            column, at = 0, at + 1
        else:
            row[column:] = [(line[at], style)] + row[column + 1 :]
            column, at = column + 1, at + 1
    return row


def runs(row):
    """Neighbours of one style, without gaps of two cells or more: column, style and text."""
    begin = 0
    for end in range(1, len(row) + 1):
        if end == len(row) or row[end][1] != row[begin][1]:
            text = "".join(character for character, _ in row[begin:end])
            for part in re.finditer(r"\S+( \S+)*", text):
                yield begin + part.start(), row[begin][1], part[0]
            begin = end


text = sys.stdin.read().split("Verify it yourself")[0].strip("\r\n")
lines = [cells(line.rstrip("\r")) for line in text.split("\n")]
while not any(runs(lines[-1])):
    lines.pop()
width = round(max(map(len, lines)) * CELL + 2 * MARGIN)
height = len(lines) * LINE + 2 * MARGIN
print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">')
print("<style>text{font:14px monospace;fill:#e6e6e6;white-space:pre}")
print(".b{font-weight:bold;fill:#fff}.d{fill:#8a919a}.g{fill:#5fd38d}</style>")
print(f'<rect width="{width}" height="{height}" rx="10" fill="#14181d"/>')
for number, row in enumerate(lines):
    y = MARGIN + number * LINE + 14
    for column, style, part in runs(row):
        x = MARGIN + column * CELL
        length = len(part) * CELL
        print(f'<text class="{style}" x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs">{escape(part)}</text>')
print("</svg>")
