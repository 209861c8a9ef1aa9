// Headings become buttons that sort the rows: ascending, descending, as written. Without the script only the sorting is
// missing. A column holds numbers if all of its cells that are not empty start with a number; marks and units may follow,
// but not the rest of a date or version.
(() => {
  const words = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
  const number = text => {
    const found = /^[(\[<>~]*([+\u2212-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\d.:-])/i.exec(text);
    return found ? Number(found[1].replace(/,/g, "").replace("\u2212", "-")) : NaN;
  };
  const next = {none: "ascending", ascending: "descending", descending: "none"};
  const order = (rows, column, direction) => {
    const cells = rows.map(row => row.cells[column].textContent.trim());
    const filled = cells.filter(text => text !== "" && text !== "-");
    const keys = filled.some(text => Number.isNaN(number(text))) ? cells : cells.map(number);
    const compare = keys === cells ? words.compare : (a, b) => a - b;
    const sign = direction === "descending" ? -1 : 1;
    const absent = i => cells[i] === "" || cells[i] === "-";
    const places = rows.map((_, i) => i);
    if (direction !== "none") {
      places.sort((i, j) => absent(i) - absent(j) || (absent(i) ? 0 : sign * compare(keys[i], keys[j])));
    }
    return places.map(i => rows[i]);
  };
  for (const table of document.querySelectorAll(".scroll table:not(.facts)")) {
    const heads = [...table.querySelectorAll("thead th")], body = table.tBodies[0];
    const rows = body ? [...body.rows] : [];
    if (rows.length < 2 || rows.some(row => row.cells.length !== heads.length)) continue;
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.title = "Sort by this column";
      button.append(...head.childNodes);
      head.append(button);
      head.classList.add("sortable");
      button.addEventListener("click", () => {
        const direction = next[head.getAttribute("aria-sort") || "none"];
        heads.forEach(other => other.removeAttribute("aria-sort"));
        if (direction !== "none") head.setAttribute("aria-sort", direction);
        body.append(...order(rows, column, direction));
      });
    });
  }
})();
