"use strict";

// The numbers under the pointer.
for (const figure of document.querySelectorAll("figure.chart")) {
  const source = figure.querySelector("script");
  if (!source) continue;
  const { low, high, lines } = JSON.parse(source.textContent);
  const overlay = figure.querySelector(".overlay");
  const cursor = figure.querySelector(".cursor");
  const readout = figure.querySelector(".readout");

  const nearest = (points, step) => {
    let left = 0;
    let right = points.length - 1;
    while (right - left > 1) {
      const middle = (left + right) >> 1;
      if (points[middle][0] <= step) left = middle;
      else right = middle;
    }
    return step - points[left][0] <= points[right][0] - step ? points[left] : points[right];
  };
  const show = (event) => {
    const box = overlay.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const step = low + share * (high - low);
    const candidates = lines.map((line) => nearest(line.points, step));
    const at = candidates.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a))[0];
    const place = `${(100 * (at - low)) / (high - low)}%`;
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    cursor.setAttribute("visibility", "visible");
    const words = lines
      .map((line, i) => [line, candidates[i]])
      .map(([line, [near, value]]) => `${line.name} ${value}${near === at ? "" : ` (at ${Math.round(near)})`}`);
    readout.textContent = `update ${Math.round(at).toLocaleString("en")}: ${words.join(" · ")}`;
  };
  const hide = () => {
    cursor.setAttribute("visibility", "hidden");
    readout.textContent = "";
  };
  overlay.addEventListener("pointermove", show);
  overlay.addEventListener("pointerdown", show);
  overlay.addEventListener("pointerleave", hide);
}

// Tables that sort by a click on a header.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const key = (row, column) => {
    const cell = row.cells[column];
    return column === 0 ? rows.indexOf(row) : Number(cell.dataset.value ?? -1);
  };
  [...table.tHead.rows[0].cells].forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => {
      const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const sorted = rows.map((row) => [key(row, column), row]).sort((a, b) => direction * (a[0] - b[0]));
      body.append(...sorted.map(([, row]) => row));
    });
  });
}
