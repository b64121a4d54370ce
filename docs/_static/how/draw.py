"""Makes the drawings of docs/how, and prints every number in them.

python docs/_static/how/draw.py
"""

from __future__ import annotations

from pathlib import Path

import facts
import protocols
import values

if __name__ == "__main__":
    here, found = Path(__file__).parent, facts.collect()
    facts.show(found)
    for module in (values, protocols):
        for name, (drawing, title) in module.drawings(found).items():
            place = here.parent if name == "skfhe" else here
            drawing.save(place / f"{name}.svg", title)
