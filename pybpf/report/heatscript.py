"""What is in every heat map: its style, in light and in dark surroundings, and the script that says what a cell is."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { color-scheme: light dark; --back: #ffffff; --text: #1d2129; --dim: #5c6370; --grid: #e4e6ea; --bar: #9aa3b2;
  --c0: #fdf0d9; --c1: #fde3b8; --c2: #fdd094; --c3: #fdb86d; --c4: #fb9a4f; --c5: #f3783a; --c6: #e2552b;
  --c7: #c7361f; --c8: #a31c18; --c9: #760a12; }
@media (prefers-color-scheme: dark) { :root { --back: #16181d; --text: #e6e8ec; --dim: #9aa1ad; --grid: #2a2e37;
  --bar: #5c6575; --c0: #38201c; --c1: #54261d; --c2: #742d1c; --c3: #96361a; --c4: #b7451c; --c5: #d45c24;
  --c6: #e97c38; --c7: #f69f58; --c8: #fcc487; --c9: #fff0cc; } }
body { margin: 24px auto; max-width: 1400px; padding: 0 20px; background: var(--back); color: var(--text);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 19px; margin: 0 0 4px; } h2 { font-size: 16px; margin: 26px 0 2px; }
.note { color: var(--dim); margin: 2px 0 6px; }
.details { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 6px 0; min-height: 22px; }
.legend { color: var(--dim); display: inline-flex; align-items: center; gap: 2px; }
.legend i { width: 18px; height: 12px; display: inline-block; outline: 1px solid var(--grid); margin: 0 1px; }
.legend i:first-of-type { margin-left: 6px; } .legend i:last-of-type { margin-right: 6px; }
.cell { font-weight: 600; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; shape-rendering: crispEdges; }
.axis { font: 12px ui-monospace, monospace; fill: var(--dim); }
.grid { stroke: var(--grid); } .tick { stroke: var(--dim); } .bar { fill: var(--bar); }
.c:hover { stroke: var(--text); stroke-width: 2; }
""" + "".join(f".c{shade} {{ fill: var(--c{shade}); background: var(--c{shade}); }}\n" for shade in range(10))

SCRIPT = """
for (const picture of document.querySelectorAll("svg")) {
  const says = picture.previousElementSibling.querySelector(".cell");
  picture.addEventListener("pointerover", event => {
    says.textContent = event.target.dataset.text || "";
  });
  picture.addEventListener("pointerleave", () => { says.textContent = ""; });
}
"""
