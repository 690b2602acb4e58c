(() => {
  "use strict";
  const root = document.documentElement;

  // var(--name) in a figure becomes what the style sheet holds for it
  const coloured = (value, style) => {
    if (typeof value === "string") {
      const found = /^var\((--[a-z]+)\)$/.exec(value);
      return found ? style.getPropertyValue(found[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((each) => coloured(each, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each, style)]));
    }
    return value;
  };

  // numbers that would run into each other are left to the table
  const crowded = (trace, width) => {
    const longest = Math.max(...trace.text.flat().map((each) => String(each).length));
    return (width - 140) / trace.text[0].length < 7 * longest;
  };

  const plots = [...document.querySelectorAll(".plot")];
  const draw = (width) => {
    if (typeof Plotly === "undefined") return;
    const style = getComputedStyle(root);
    for (const plot of plots) {
      const figure = coloured(JSON.parse(document.getElementById(plot.dataset.figure).textContent), style);
      for (const trace of figure.data) {
        if (trace.texttemplate && crowded(trace, plot.clientWidth)) delete trace.texttemplate;
      }
      if (width) figure.layout.width = Math.min(width, plot.clientWidth || width);
      Plotly.react(plot, figure.data, figure.layout, { responsive: !width, displayModeBar: false, displaylogo: false });
    }
  };

  root.classList.add("js");
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("beforeprint", () => { root.classList.add("print"); draw(680); });
  addEventListener("afterprint", () => { root.classList.remove("print"); draw(); });

  // a number sorts by its value, without the interval behind it, everything else by its letters
  const worth = (cell) => {
    const text = cell.textContent.trim();
    const number = Number(text.replace(/\(.*\)$/, "").replace(/[,\s%]/g, ""));
    return cell.classList.contains("n") && text && !Number.isNaN(number) ? number : text;
  };
  const order = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => order(worth(a.cells[column]), worth(b.cells[column])) * (down ? -1 : 1));
        body.append(...rows);
      });
    });
  }
})();
