"""The script and the style inside of a flame graph: what its boxes do when they are pointed at, clicked, searched."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
.flame { font: 11px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1c1c1c;
  background: #ffffff }
.flame .back { fill: #ffffff }
.flame .head { font: bold 16px system-ui, "DejaVu Sans", sans-serif }
.flame .note, .flame .matched, .flame .reset { fill: #5a5a5a }
.flame .reset { cursor: pointer; text-decoration: underline }
.flame .boxes g { cursor: pointer }
.flame .boxes text { pointer-events: none; white-space: pre }
.flame .boxes rect { stroke: none; rx: 1px }
.flame .boxes g:hover rect { stroke: #000000; stroke-width: 1.2px }
.flame .boxes .above { opacity: 0.55 }
.flame .boxes .match rect { fill: #d84bd8 }
.flame .find input { box-sizing: border-box; width: 100%; height: 22px; font: inherit; padding: 1px 6px;
  color: #1c1c1c; background: #f4f4f4; border: 1px solid #b0b0b0; border-radius: 3px }
@media (prefers-color-scheme: dark) {
  .flame { fill: #ececec; background: #17191c }
  .flame .back { fill: #17191c }
  .flame .note, .flame .matched, .flame .reset { fill: #a4a4a4 }
  .flame .boxes g:hover rect { stroke: #ffffff }
  .flame .boxes .match rect { fill: #a02ba0 }
  .flame .find input { color: #ececec; background: #26292e; border-color: #5a5a5a }
}"""

SCRIPT = r"""
(function () {
  "use strict";
  var script = document.currentScript;
  var root = script && script.closest ? script.closest("svg.flame") : document.documentElement;
  var part = function (name) { return root.querySelector("." + name); };
  var area = part("boxes"), details = part("details"), matched = part("matched"), reset = part("reset");
  var find = part("find"), input = find.querySelector("input"), unit = area.dataset.unit;
  var SVG = "http://www.w3.org/2000/svg", EDGE = +area.getAttribute("x");
  var boxes = Array.from(area.children).map(function (g) {
    return { g: g, rect: g.firstElementChild, text: g.children[1] || null, name: g.dataset.name,
             file: g.dataset.file || "", row: +g.dataset.row, start: +g.dataset.start, value: +g.dataset.value };
  });
  var byElement = new Map(boxes.map(function (box) { return [box.g, box]; }));
  var all = boxes[0], zoomed = all, width = 0, character = 0;

  function percent(value, of) { return of ? (100 * value / of).toFixed(2) + "%" : ""; }
  function grouped(value) { return String(value).replace(/\B(?=(\d{3})+$)/g, ","); }

  // One character in the font that the browser has
  function measure() {
    var probe = document.createElementNS(SVG, "text");
    probe.textContent = "m".repeat(50);
    area.appendChild(probe);
    character = probe.getComputedTextLength() / 50 || 6.7;
    area.removeChild(probe);
  }

  function label(box, pixels) {
    var room = Math.floor((pixels - 6) / character);
    if (room < 3) {
      if (box.text) box.text.textContent = "";
      return;
    }
    if (!box.text) {
      box.text = document.createElementNS(SVG, "text");
      box.text.setAttribute("dx", 3);
      box.text.setAttribute("y", +box.rect.getAttribute("y") + 12.5);
      box.g.appendChild(box.text);
    }
    var letters = Array.from(box.name);
    var shown = letters.length <= room ? box.name : letters.slice(0, room - 2).join("") + "..";
    box.text.textContent = shown;
    if (/[^\x20-\x7e]/.test(shown)) {   // characters that are not as wide as others
      letters = Array.from(shown.replace(/\.\.$/, ""));
      while (letters.length && box.text.getComputedTextLength() > pixels - 6) {
        letters.pop();
        box.text.textContent = letters.join("") + "..";
      }
    }
  }

  function draw() {
    var from = zoomed.start, span = zoomed.value, to = from + span;
    boxes.forEach(function (box) {
      var above = box.row < zoomed.row && box.start <= from && box.start + box.value >= to;
      var inside = box.row >= zoomed.row && box.start >= from && box.start + box.value <= to;
      var left = above ? 0 : (box.start - from) / span, wide = above ? 1 : box.value / span;
      var shown = (above || inside) && wide * width >= 0.1;
      box.g.style.display = shown ? "" : "none";
      if (!shown) return;
      box.g.classList.toggle("above", above);
      box.rect.setAttribute("x", 100 * left + "%");
      box.rect.setAttribute("width", 100 * wide + "%");
      label(box, wide * width);
      if (box.text) box.text.setAttribute("x", 100 * left + "%");
    });
    reset.textContent = zoomed === all ? "" : "zoom out (Esc)";
  }

  function zoom(box) {
    zoomed = box;
    draw();
  }

  function search() {
    var wanted = null, text = input.value;
    if (text) {
      try { wanted = new RegExp(text, "i"); }
      catch (error) { wanted = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"); }
    }
    var found = boxes.filter(function (box) {
      var match = Boolean(wanted) && box !== all && wanted.test(box.name);
      box.g.classList.toggle("match", match);
      return match;
    });
    // A match on top of another one is part of it
    var sum = 0, end = 0;
    found.sort(function (a, b) { return a.start - b.start || a.row - b.row; }).forEach(function (box) {
      if (box.start >= end) {
        sum += box.value;
        end = box.start + box.value;
      }
    });
    matched.textContent = wanted ? "matched: " + percent(sum, all.value) : "";
  }

  function describe(box) {
    var text = box.name + (box.file ? " (" + box.file.replace(/^.*\//, "") + ")" : "");
    text += ": " + grouped(box.value) + " " + unit + ", " + percent(box.value, all.value);
    return zoomed === all ? text : text + ", " + percent(box.value, zoomed.value) + " of what is shown";
  }

  function boxOf(event) {
    var g = event.target.closest ? event.target.closest("g") : null;
    return g ? byElement.get(g) : undefined;
  }

  function fit() {
    var alone = document.documentElement === root;
    var wide = Math.max(480, alone ? window.innerWidth : root.clientWidth || 1200);
    var height = root.viewBox.baseVal.height;
    root.setAttribute("viewBox", "0 0 " + wide + " " + height);
    if (alone) {
      root.setAttribute("width", wide);
      wide = Math.max(480, document.documentElement.clientWidth || wide);   // less a scroll bar
      root.setAttribute("viewBox", "0 0 " + wide + " " + height);
      root.setAttribute("width", wide);
    }
    width = wide - 2 * EDGE;
    area.setAttribute("width", width);
    [matched, reset].forEach(function (text) { text.setAttribute("x", wide - EDGE); });
    find.setAttribute("x", wide - EDGE - 240);
    draw();
  }

  if (!all) return;
  area.addEventListener("mouseover", function (event) {
    var box = boxOf(event);
    if (!box) return;
    details.textContent = describe(box);
    var title = box.g.querySelector("title") || box.g.appendChild(document.createElementNS(SVG, "title"));
    title.textContent = describe(box);
  });
  area.addEventListener("mouseleave", function () { details.textContent = ""; });
  area.addEventListener("click", function (event) {
    var box = boxOf(event);
    if (box) zoom(box);
  });
  reset.addEventListener("click", function () { zoom(all); });
  input.addEventListener("input", search);
  document.addEventListener("keydown", function (event) {
    if ((event.key === "f" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && event.target !== input)) {
      event.preventDefault();
      input.focus();
    } else if (event.key === "Escape") {
      if (input.value) {
        input.value = "";
        search();
      } else {
        zoom(all);
      }
      input.blur();
    }
  });
  window.addEventListener("resize", fit);
  measure();
  fit();
})();"""
