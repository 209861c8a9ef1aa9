// Headings become buttons: ascending, descending, as written. The rows stand in the page, so without the script all but
// the sorting works. A column is of numbers if every cell that holds anything starts with one; marks and units may
// follow, the rest of a date or version may not.
(() => {
  const words = new Intl.Collator("en", {numeric: true, sensitivity: "base"});
  const number = text => {
    const found = /^[(\[<>~]*([+\u2212-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\d.:-])/i.exec(text);
    return found ? Number(found[1].replace(/,/g, "").replace("\u2212", "-")) : NaN;
  };
  const next = {none: "ascending", ascending: "descending", descending: "none"};
  const order = (rows, column, direction) => {
    const cells = rows.map(row => row.cells[column].textContent.trim());
    const given = cells.filter(text => text !== "" && text !== "-");
    const keys = given.some(text => Number.isNaN(number(text))) ? cells : cells.map(number);
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
