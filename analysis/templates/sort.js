"use strict";
// A column of numbers sorts by the first number of a cell, whatever sign, ± or unit goes with it; any other
// column sorts as text. Cells without a value come last either way. Equal rows keep their order.
const SECONDS = { s: 1, min: 60, h: 3600, d: 86400 };
const NUMBER = /^[<>≤≥~]?\s*([+\-−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([a-z]*)/i;
const isMissing = text => text === "" || text === "–";

function toNumber(text) {
  const found = NUMBER.exec(text);
  return found && parseFloat(found[1].replace("−", "-").replaceAll(",", "")) * (SECONDS[found[2]] ?? 1);
}

function sortBy(head) {
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows].map(row => ({ row, text: row.cells[head.cellIndex].textContent.trim() }));
  const known = rows.filter(one => !isMissing(one.text));
  const numeric = known.every(one => toNumber(one.text) !== null);
  const before = head.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : numeric;
  const ascending = numeric
    ? (a, b) => toNumber(a.text) - toNumber(b.text)
    : (a, b) => a.text.localeCompare(b.text, "en", { numeric: true });
  known.sort((a, b) => descending ? ascending(b, a) : ascending(a, b));
  body.append(...known.map(one => one.row), ...rows.filter(one => isMissing(one.text)).map(one => one.row));
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const head of document.querySelectorAll("th")) {
  head.querySelector("button").addEventListener("click", () => sortBy(head));
}
