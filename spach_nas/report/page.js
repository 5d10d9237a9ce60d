"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const rowOf = new Map(data.rows.map((row) => [row.trial, row]));
  const PAGE_ROWS = 100;
  const PRINT_WIDTH = 700;
  const COLUMNS = {
    trial: { label: "Trial", digits: 0 },
    architecture: { label: "Architecture" },
    accuracy: { label: "Acc. (%)", name: "Accuracy", digits: 2, unit: 0.01 },
    macs: { label: "MACs (G)", name: "MACs", digits: 2, unit: 1e9 },
    params: { label: "Params (M)", name: "Parameters", digits: 2, unit: 1e6 },
    activations: { label: "Act. (M)", name: "Activations", digits: 2, unit: 1e6 },
    seconds: { label: "Time (s)", digits: 1 },
    epochs: { label: "Epochs", digits: 0 },
    note: { label: "Note" },
  };
  const state = { axis: "macs", selected: data.selected, sort: "trial", down: false, all: false, print: false };

  /* Figures: made in the light inks, repainted for a dark screen. */
  function painted(value, inks) {
    if (typeof value === "string") return inks.get(value) ?? value;
    if (Array.isArray(value)) {
      return typeof value[0] === "object" && value[0] !== null ? value.map((item) => painted(item, inks)) : value;
    }
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, inks)]));
  }

  function inks() {
    const to = dark.matches && !state.print ? data.inks.dark : data.inks.light;
    return { to, swap: new Map(Object.keys(to).map((name) => [data.inks.light[name], to[name]])) };
  }

  function prepared(name) {
    const { to, swap } = inks();
    const figure = painted(data.figures[name], swap);
    for (const trace of figure.data) {
      if ((trace.hovertemplate ?? "").startsWith("%{text}")) {
        trace.text = trace.customdata.map((trial) => data.labels[trial]);
      }
    }
    if (name.startsWith("front-")) figure.data.unshift(halo(figure.data, to));
    if (narrow.matches && !state.print) fitPhone(figure.layout);
    if (state.print) figure.layout.width = PRINT_WIDTH;
    return figure;
  }

  function halo(traces, to) {
    const at = { x: [], y: [] };
    for (const trace of traces) {
      const place = (trace.customdata ?? []).indexOf(state.selected);
      if (place >= 0) Object.assign(at, { x: [trace.x[place]], y: [trace.y[place]] });
    }
    const marker = { size: 30, color: to.accent, opacity: 0.25 };
    return { ...at, type: "scatter", mode: "markers", marker, hoverinfo: "skip", showlegend: false, cliponaxis: false };
  }

  function fitPhone(layout) {
    layout.font.size = 12;
    layout.margin = { ...layout.margin, l: 44, r: 10, t: 12 };
    layout.legend = { ...layout.legend, orientation: "h", x: 0, xanchor: "left", y: -0.16, yanchor: "top" };
    /* A finger scrolls the page; zooming is for the mouse. */
    layout.dragmode = false;
    /* No room for the names of the paper models: a tap tells them. */
    layout.annotations = (layout.annotations ?? []).filter((note) => note.name !== "paper");
  }

  function plot(id, name) {
    const place = byId(id);
    if (!data.figures[name]) {
      const section = place.closest("section");
      if (section) section.hidden = true;
      return;
    }
    const config = {
      responsive: true,
      displaylogo: false,
      displayModeBar: narrow.matches ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    Plotly.react(place, { ...prepared(name), config });
  }

  function drawFront() { plot("plot-front", `front-${state.axis}`); }

  function drawAll() {
    for (const name of ["hypervolume", "curves", "shares"]) plot(`plot-${name}`, name);
    drawFront();
  }

  /* The table: rows are built as text nodes, so that nothing in them is mark-up. */
  function shown(key, row) {
    const { digits, unit } = COLUMNS[key];
    if (digits === undefined) return row[key] ?? "";
    return row[key] === null ? "\u2013" : (row[key] / (unit ?? 1)).toFixed(digits);
  }

  function compare(a, b) {
    const [x, y] = [a[state.sort], b[state.sort]];
    if (x === y || (x === null && y === null)) return a.trial - b.trial;
    if (x === null || y === null) return x === null ? 1 : -1;
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return state.down ? -order : order;
  }

  function matching() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value;
    return data.rows.filter((row) => {
      if (kind !== "all" && !row[kind]) return false;
      const text = `${row.trial} ${row.id} ${row.architecture} ${row.note}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  function tableRow(row) {
    const line = document.createElement("tr");
    line.dataset.trial = row.trial;
    line.tabIndex = 0;
    line.setAttribute("aria-selected", String(row.trial === state.selected));
    for (const kind of ["front", "paper", "failed"]) line.classList.toggle(kind, row[kind]);
    for (const key of data.columns) {
      const cell = line.insertCell();
      cell.textContent = shown(key, row);
      cell.className = COLUMNS[key].digits === undefined ? key : "number";
    }
    return line;
  }

  function fillTable() {
    const rows = matching().sort(compare);
    const place = rows.findIndex((row) => row.trial === state.selected);
    const visible = state.all || state.print ? rows : rows.slice(0, Math.max(PAGE_ROWS, place + 1));
    byId("table").tBodies[0].replaceChildren(...visible.map(tableRow));
    byId("shown").textContent = `${visible.length} of ${data.rows.length} trials shown.`;
    byId("more").hidden = visible.length === rows.length;
    for (const head of byId("table").tHead.rows[0].cells) {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  function fillHead() {
    const line = byId("table").tHead.insertRow();
    for (const key of data.columns) {
      const head = document.createElement("th");
      const button = document.createElement("button");
      head.dataset.key = key;
      head.scope = "col";
      head.className = COLUMNS[key].digits === undefined ? "" : "number";
      button.type = "button";
      button.textContent = COLUMNS[key].label;
      button.addEventListener("click", () => {
        /* The first click shows the best first: high accuracy, low cost. */
        state.down = state.sort === key ? !state.down : key === "accuracy";
        state.sort = key;
        fillTable();
      });
      head.append(button);
      line.append(head);
    }
  }

  /* Selection: one trial, in the plot, the table and the drawings. */
  function select(trial, { scroll = true } = {}) {
    const row = rowOf.get(trial);
    if (!row) return;
    state.selected = trial;
    if (!matching().includes(row)) { byId("filter").value = ""; byId("kind").value = "all"; }
    fillTable();
    const line = byId("table").querySelector(`tr[data-trial="${trial}"]`);
    const box = line.closest(".scroll");
    if (scroll) box.scrollTop = line.offsetTop - box.clientHeight / 2;
    for (const item of document.querySelectorAll(".drawings li")) {
      const button = item.querySelector("button");
      item.setAttribute("aria-current", String(button !== null && Number(button.dataset.trial) === trial));
    }
    fillSelection(row);
    drawFront();
  }

  function fillSelection(row) {
    const figures = ["accuracy", "macs", "params", "activations"]
      .filter((key) => row[key] !== null)
      .map((key) => `${COLUMNS[key].name} ${shown(key, row)}${{ accuracy: " %", macs: " G" }[key] ?? " M"}`);
    byId("selected-title").textContent = `Trial ${row.trial}${row.note ? ` · ${row.note}` : ""}`;
    byId("selected-figures").textContent = figures.join(", ");
    byId("selected-architecture").textContent = row.architecture;
    /* Weights are kept for the front alone; of the others the architecture can be had. */
    const scale = row.front ? "" : " --scale target";
    byId("selected-command").textContent = `spach-nas export ${data.study} --pick ${row.id}${scale} --out bundle-${row.id}`;
    byId("selected-export").hidden = row.failed;
    byId("copy").textContent = "Copy";
  }

  async function copyCommand() {
    const code = byId("selected-command");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      /* Pages opened as files may not use the clipboard: select the text and use the old way. */
      const range = document.createRange();
      range.selectNodeContents(code);
      const marked = window.getSelection();
      marked.removeAllRanges();
      marked.addRange(range);
      if (!document.execCommand("copy")) return;
    }
    byId("copy").textContent = "Copied";
  }

  function listen() {
    for (const id of ["plot-front", "plot-curves"]) {
      byId(id).on?.("plotly_click", (event) => {
        const trial = event.points.map((point) => point.customdata).find((found) => found !== undefined);
        if (trial !== undefined) select(trial);
      });
    }
    byId("axes").addEventListener("change", (event) => { state.axis = event.target.value; drawFront(); });
    const choose = (event) => {
      const line = event.target.closest("tr");
      if (line) select(Number(line.dataset.trial), { scroll: false });
    };
    const body = byId("table").tBodies[0];
    body.addEventListener("click", choose);
    body.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      choose(event);
      body.querySelector("tr[aria-selected=true]")?.focus();
    });
    byId("drawings").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) select(Number(button.dataset.trial));
    });
    byId("filter").addEventListener("input", fillTable);
    byId("kind").addEventListener("change", fillTable);
    byId("more").addEventListener("click", () => { state.all = true; fillTable(); });
    byId("copy").addEventListener("click", copyCommand);
    dark.addEventListener("change", drawAll);
    narrow.addEventListener("change", drawAll);
    const print = (printing) => () => {
      state.print = printing;
      for (const part of document.querySelectorAll("details")) part.open = printing;
      drawAll();
      fillTable();
    };
    window.addEventListener("beforeprint", print(true));
    window.addEventListener("afterprint", print(false));
  }

  fillHead();
  drawAll();
  listen();
  fillTable();
  if (state.selected !== null) select(state.selected, { scroll: false });
  document.documentElement.dataset.ready = "true";
})();
