"use strict";
/* The page of a study: one selected trial, in the plots, the table and the drawings. */
(() => {
  const byId = (id) => document.getElementById(id);
  const ROWS = 200;
  const HALO = "selected";
  /* A circle in pixels as a path: those of plotly take no negative pixels on a log axis. */
  const CIRCLE = "M-15,0C-15,-8.3,-8.3,-15,0,-15C8.3,-15,15,-8.3,15,0C15,8.3,8.3,15,0,15C-8.3,15,-15,8.3,-15,0Z";
  const { data } = Figures;
  const rowOf = new Map(data.rows.map((row) => [row.trial, row]));
  const drawings = new Map();
  const state = { selected: data.selected, sort: "trial", down: false, rows: ROWS };

  /* Drawings come deflated: thousands of them repeat each other. */
  async function unpack(packed) {
    if (!packed || !("DecompressionStream" in window)) return;
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const found = JSON.parse(await new Response(stream).text());
    for (const [name, drawing] of Object.entries(found)) drawings.set(name, drawing);
    const row = rowOf.get(state.selected);
    if (row) byId("selected-drawing").innerHTML = drawings.get(row.id) ?? "";
  }

  /* The shapes of the front with a halo around the selected trial. Moving a shape, unlike a trace,
   * does not redraw thousands of points. */
  function withHalo({ data: traces, layout }, inks) {
    const shapes = (layout.shapes ?? []).filter((shape) => shape.name !== HALO);
    for (const trace of traces) {
      const at = (trace.customdata ?? []).indexOf(state.selected);
      if (at < 0) continue;
      const size = { xsizemode: "pixel", ysizemode: "pixel", type: "path", path: CIRCLE };
      const paint = { fillcolor: inks.accent, opacity: 0.35, line: { width: 2, color: inks.accent } };
      return [...shapes, { ...size, ...paint, name: HALO, xanchor: trace.x[at], yanchor: trace.y[at] }];
    }
    return shapes;
  }

  function moveHalo() {
    const plot = byId("plot-front");
    if (plot?.data) Plotly.relayout(plot, { shapes: withHalo(plot, Figures.inks()) });
  }

  /* Hovering: a card with the drawing, at the pointer. All words are set as text, so that nothing in a
   * study is mark-up; drawings are escaped where they are made. */
  const card = document.body.appendChild(document.createElement("div"));
  card.className = "card";
  card.hidden = true;

  function showCard({ points, event }) {
    const point = points.find((found) => found.data.hoverinfo === "none" && rowOf.has(found.customdata));
    if (!point || window.matchMedia("(max-width: 640px)").matches) return;
    const row = rowOf.get(point.customdata);
    const parts = { b: title(row), span: row.words, div: "", code: row.architecture, small: row.origin };
    card.replaceChildren(...Object.entries(parts).map(([tag, text]) => {
      const element = document.createElement(tag);
      element.textContent = text;
      return element;
    }));
    card.querySelector("div").innerHTML = drawings.get(row.id) ?? "";
    card.hidden = false;
    const [x, y, { offsetWidth: wide, offsetHeight: high }] = [event.clientX + 16, event.clientY + 16, card];
    card.style.left = `${Math.max(4, Math.min(x, document.documentElement.clientWidth - wide))}px`;
    card.style.top = `${y + high <= window.innerHeight ? y : Math.max(4, y - 32 - high)}px`;
  }

  function title(row) { return `Trial ${row.trial}${row.note ? ` \u00b7 ${row.note}` : ""}`; }

  /* The table. */
  function compare(a, b) {
    const [x, y] = [a[state.sort] ?? null, b[state.sort] ?? null];
    if (x === y) return a.trial - b.trial;
    if (x === null || y === null) return x === null ? 1 : -1;
    const order = typeof x === "number" ? x - y : x < y ? -1 : 1;
    return state.down ? -order : order;
  }

  function matching() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = byId("kind").value;
    return data.rows.filter((row) => {
      if (kind !== "all" && !row[kind]) return false;
      row.searched ??= `${row.trial} ${row.id} ${row.architecture} ${row.note ?? ""}`.toLowerCase();
      return words.every((word) => row.searched.includes(word));
    });
  }

  function tableRow(row) {
    const line = document.createElement("tr");
    line.dataset.trial = row.trial;
    line.tabIndex = 0;
    line.setAttribute("aria-selected", String(row.trial === state.selected));
    for (const kind of ["front", "paper", "failed"]) line.classList.toggle(kind, Boolean(row[kind]));
    for (const head of byId("table").tHead.rows[0].cells) {
      const cell = line.insertCell();
      cell.textContent = row.text[head.dataset.key] ?? row[head.dataset.key] ?? "";
      cell.className = head.className;
    }
    return line;
  }

  function fillTable() {
    if (!byId("table")) return;
    const rows = matching().sort(compare);
    const visible = rows.slice(0, state.rows);
    byId("table").tBodies[0].replaceChildren(...visible.map(tableRow));
    const of = rows.length === data.rows.length ? "" : `${rows.length.toLocaleString("en")} that match, of `;
    byId("shown").textContent =
      `${visible.length.toLocaleString("en")} of ${of}${data.rows.length.toLocaleString("en")} trials shown.`;
    byId("more").hidden = visible.length === rows.length;
    for (const head of byId("table").tHead.rows[0].cells) {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  function refill() { state.rows = ROWS; fillTable(); }

  function sortBy(head) {
    /* The first click shows the best first: high accuracy, low cost. */
    state.down = state.sort === head.dataset.key ? !state.down : head.classList.contains("down");
    state.sort = head.dataset.key;
    byId("table").closest(".scroll").scrollTop = 0;
    refill();
  }

  /* Selection: one trial, in the plot, the table and the drawings. */
  function select(trial, { scroll = true } = {}) {
    const row = rowOf.get(trial);
    if (!row) return;
    state.selected = trial;
    if (!matching().includes(row)) { byId("filter").value = ""; byId("kind").value = "all"; }
    state.rows = Math.max(state.rows, matching().sort(compare).indexOf(row) + 1);
    fillTable();
    if (scroll) {
      const line = byId("table").querySelector("tr[aria-selected=true]");
      const box = line.closest(".scroll");
      box.scrollTop = line.offsetTop - box.clientHeight / 2;
    }
    fillSelection(row);
    moveHalo();
  }

  function fillSelection(row) {
    for (const item of document.querySelectorAll(".drawings li")) {
      const button = item.querySelector("button");
      item.setAttribute("aria-current", String(button !== null && Number(button.dataset.trial) === row.trial));
    }
    if (!byId("selection")) return;
    byId("selection").hidden = false;
    byId("selected-title").textContent = title(row);
    byId("selected-figures").textContent = row.words;
    byId("selected-drawing").innerHTML = drawings.get(row.id) ?? "";
    byId("selected-architecture").textContent = row.architecture;
    /* Weights are kept only for the front; of other trials the untrained network is exported. */
    const scale = row.kept ? "" : " --scale target";
    byId("selected-command").textContent = `spach-nas export ${data.study} --pick ${row.id}${scale} --out bundle-${row.id}`;
    byId("selected-export").hidden = byId("selected-note").hidden = Boolean(row.failed);
    byId("selected-note").textContent = data.notes[row.kept ? 0 : 1];
    for (const button of document.querySelectorAll(".copy")) button.textContent = "Copy";
  }

  async function copyCommand(button) {
    const code = button.parentElement.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      /* Some browsers refuse it to pages opened as files: select the text for Ctrl+C. */
      window.getSelection().selectAllChildren(code);
    }
  }

  function clicked({ target }) {
    const on = (selector) => target.closest(selector);
    const line = on("#table tbody tr");
    const strip = on("button[data-trial]");
    const failure = on(".failures button");
    if (on("#table th")) sortBy(on("#table th"));
    else if (line) select(Number(line.dataset.trial), { scroll: false });
    else if (strip) select(Number(strip.dataset.trial));
    else if (failure) {
      byId("kind").value = "failed";
      byId("filter").value = failure.dataset.filter;
      refill();
      byId("trials").scrollIntoView();
    } else if (on("#more")) { state.rows = Infinity; fillTable(); }
    else if (on(".copy")) copyCommand(on(".copy"));
  }

  function listen() {
    for (const plot of document.querySelectorAll(".plot[data-trials].js-plotly-plot")) {
      plot.on("plotly_click", (event) => {
        const trial = event.points.map((point) => point.customdata).find((found) => rowOf.has(found));
        if (trial !== undefined) select(trial);
      });
      plot.on("plotly_hover", showCard);
      plot.on("plotly_unhover", () => { card.hidden = true; });
    }
    document.addEventListener("click", clicked);
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("#table tbody tr")) return;
      clicked(event);
      byId("table").querySelector("tr[aria-selected=true]")?.focus();
    });
    for (const id of ["filter", "kind"]) byId(id)?.addEventListener("input", refill);
  }

  Figures.prepare.push((id, figure, inks) => {
    if (id === "front") figure.layout.shapes = withHalo(figure, inks);
  });
  fillTable();
  unpack(data.drawings);
  /* `figures.js` has drawn the figures by then. */
  document.addEventListener("DOMContentLoaded", () => {
    listen();
    const row = rowOf.get(state.selected);
    if (row) fillSelection(row);
  });
})();
