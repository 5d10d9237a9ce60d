"use strict";
/* The page of a study: one selected trial, in the plots, the table and the drawings. */
(() => {
  const byId = (id) => document.getElementById(id);
  const STEP = 100;
  const PRINTED_ROWS = 200;
  const HALO = "selected";
  /* A circle in pixels as a path: those of plotly take no negative pixels on a log axis. */
  const CIRCLE = "M-15,0C-15,-8.3,-8.3,-15,0,-15C8.3,-15,15,-8.3,15,0C15,8.3,8.3,15,0,15C-8.3,15,-15,8.3,-15,0Z";
  const data = Figures.data;
  const rowOf = new Map(data.rows.map((row) => [row.trial, row]));
  const columns = new Map(data.columns.map((column) => [column.key, column]));
  const drawings = new Map();
  const state = { selected: data.selected, sort: "trial", down: false, rows: STEP };

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

  /* The front: a halo around the selected trial. */
  function prepareFront(id, figure, inks) {
    if (id !== "front") return;
    figure.layout.shapes = [...(figure.layout.shapes ?? []), ...halo(figure.data, inks)];
  }

  /* A shape and no trace: moving it leaves thousands of points alone. */
  function halo(traces, inks) {
    for (const trace of traces) {
      const at = (trace.customdata ?? []).indexOf(state.selected);
      if (at < 0) continue;
      const size = { xsizemode: "pixel", ysizemode: "pixel", type: "path", path: CIRCLE };
      const paint = { fillcolor: inks.accent, opacity: 0.35, line: { width: 2, color: inks.accent } };
      return [{ ...size, ...paint, name: HALO, xanchor: trace.x[at], yanchor: trace.y[at] }];
    }
    return [];
  }

  function moveHalo() {
    const plot = byId("plot-front");
    if (!plot?.data) return;
    const others = (plot.layout.shapes ?? []).filter((shape) => shape.name !== HALO);
    Plotly.relayout(plot, { shapes: [...others, ...halo(plot.data, Figures.inks())] });
  }

  /* Hovering: a card with the drawing, at the pointer. */
  const card = document.createElement("div");
  card.className = "card";
  card.hidden = true;
  document.body.append(card);

  function showCard(event) {
    const point = event.points.find((found) => found.data.hoverinfo === "none" && rowOf.has(found.customdata));
    if (!point || window.matchMedia("(max-width: 640px)").matches) return;
    const row = rowOf.get(point.customdata);
    const line = (tag, text, kind) => {
      const element = document.createElement(tag);
      element.textContent = text;
      if (kind) element.className = kind;
      return element;
    };
    const drawing = document.createElement("div");
    drawing.innerHTML = drawings.get(row.id) ?? "";
    card.replaceChildren(
      line("b", title(row)), line("div", figures(row)), drawing,
      line("code", row.architecture), line("div", `${row.id}, ${inWords("seconds", row)}, ${row.seeds}`, "muted"),
    );
    card.hidden = false;
    place(event.event);
  }

  function place({ clientX, clientY }) {
    const gap = 16;
    const { offsetWidth: wide, offsetHeight: high } = card;
    const right = clientX + gap + wide <= document.documentElement.clientWidth;
    const left = right ? clientX + gap : Math.max(4, clientX - gap - wide);
    const below = clientY + gap + high <= window.innerHeight;
    card.style.left = `${left}px`;
    card.style.top = `${below ? clientY + gap : Math.max(4, clientY - gap - high)}px`;
  }

  /* Words: text alone, so that nothing in a study is mark-up. */
  function shown({ key, unit, digits }, row) {
    if (!unit) return row[key] ?? "";
    if (row[key] === null || row[key] === undefined) return "\u2013";
    /* With its interval, in the words of the rest of the page. */
    if (row.shown[key]) return row.shown[key];
    const figure = row[key] / unit;
    return digits < 0 ? String(Number(figure.toPrecision(4))) : figure.toFixed(digits);
  }

  function inWords(key, row) {
    const column = columns.get(key);
    const figure = column.own_unit ? short(row[key]) : `${shown(column, row)}${column.suffix}`;
    return `${column.name} ${figure}`;
  }

  /* As everywhere outside of a column: 1.112M. */
  function short(count) {
    const [unit, factor] = [["G", 1e9], ["M", 1e6], ["k", 1e3]].find((known) => count >= known[1]) ?? ["", 1];
    return `${Number((count / factor).toPrecision(4))}${unit}`;
  }

  function figures(row) {
    const known = data.columns.filter(({ key, name }) => name && key !== "seconds" && (row[key] ?? null) !== null);
    const words = known.map(({ key }) => inWords(key, row)).join(", ");
    return words.charAt(0).toUpperCase() + words.slice(1);
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
      row.text ??= `${row.trial} ${row.id} ${row.architecture} ${row.note ?? ""}`.toLowerCase();
      return words.every((word) => row.text.includes(word));
    });
  }

  function tableRow(row) {
    const line = document.createElement("tr");
    line.dataset.trial = row.trial;
    line.tabIndex = 0;
    line.setAttribute("aria-selected", String(row.trial === state.selected));
    for (const kind of ["front", "paper", "failed"]) line.classList.toggle(kind, Boolean(row[kind]));
    for (const column of data.columns) {
      const cell = line.insertCell();
      cell.textContent = shown(column, row);
      cell.className = column.unit ? `number ${column.key}` : column.key;
    }
    return line;
  }

  function fillTable() {
    if (!byId("table")) return;
    const rows = matching().sort(compare);
    const visible = rows.slice(0, Figures.printing ? PRINTED_ROWS : state.rows);
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

  function refill() { state.rows = STEP; fillTable(); }

  function fillHead() {
    const line = document.createElement("tr");
    for (const column of data.columns) {
      const head = document.createElement("th");
      const button = document.createElement("button");
      head.dataset.key = column.key;
      head.scope = "col";
      head.className = column.unit ? `number ${column.key}` : column.key;
      button.type = "button";
      button.textContent = column.label;
      button.addEventListener("click", () => {
        /* The first click shows the best first: high accuracy, low cost. */
        state.down = state.sort === column.key ? !state.down : column.down;
        state.sort = column.key;
        byId("table").closest(".scroll").scrollTop = 0;
        refill();
      });
      head.append(button);
      line.append(head);
    }
    byId("table")?.tHead.replaceChildren(line);
  }

  /* Selection: one trial, in the plot, the table and the drawings. */
  function select(trial, { scroll = true } = {}) {
    const row = rowOf.get(trial);
    if (!row) return;
    state.selected = trial;
    if (!matching().includes(row)) { byId("filter").value = ""; byId("kind").value = "all"; fillTable(); }
    const mark = (line, chosen) => line?.setAttribute("aria-selected", String(chosen));
    const body = byId("table").tBodies[0];
    for (const line of body.querySelectorAll("tr[aria-selected=true]")) mark(line, false);
    let line = body.querySelector(`tr[data-trial="${trial}"]`);
    if (line) mark(line, true);
    else {
      state.rows = Math.max(state.rows, matching().sort(compare).indexOf(row) + STEP);
      fillTable();
      line = body.querySelector("tr[aria-selected=true]");
    }
    if (scroll) {
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
    byId("selected-figures").textContent = `${figures(row)}, ${row.seeds}`;
    byId("selected-drawing").innerHTML = drawings.get(row.id) ?? "";
    byId("selected-architecture").textContent = row.architecture;
    /* Weights are kept for the front alone; of the others the architecture can be had. */
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
    } catch {
      /* Pages opened as files may not use the clipboard: select the text and use the old way. */
      const range = document.createRange();
      range.selectNodeContents(code);
      const marked = window.getSelection();
      marked.removeAllRanges();
      marked.addRange(range);
      if (!document.execCommand("copy")) return;
    }
    button.textContent = "Copied";
  }

  function clicked(event) {
    const on = (selector) => event.target.closest(selector);
    const line = on("#table tbody tr");
    const strip = on("button[data-trial]");
    const failure = on(".failures button");
    if (line) select(Number(line.dataset.trial), { scroll: false });
    else if (strip) select(Number(strip.dataset.trial));
    else if (failure) {
      byId("kind").value = "failed";
      byId("filter").value = failure.dataset.filter;
      refill();
      byId("trials").scrollIntoView();
    } else if (on("#more")) { state.rows = Infinity; fillTable(); }
    else if (on(".copy")) copyCommand(on(".copy"));
  }

  function scrolled(event) {
    const box = event.target;
    if (!box.classList?.contains("scroll") || byId("more").hidden) return;
    if (box.scrollTop + box.clientHeight < box.scrollHeight - 200) return;
    state.rows = box.querySelectorAll("tbody tr").length + STEP;
    fillTable();
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
    document.addEventListener("scroll", scrolled, { capture: true, passive: true });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("#table tbody tr")) return;
      clicked(event);
      byId("table").querySelector("tr[aria-selected=true]")?.focus();
    });
    document.addEventListener("input", (event) => { if (event.target.id === "filter") refill(); });
    document.addEventListener("change", (event) => {
      if (event.target.id === "kind") refill();
    });
    document.addEventListener("print", fillTable);
  }

  Figures.prepare.push(prepareFront);
  fillHead();
  fillTable();
  unpack(data.drawings);
  /* `figures.js` has drawn the figures by then. */
  document.addEventListener("DOMContentLoaded", () => {
    listen();
    const row = rowOf.get(state.selected);
    if (row) fillSelection(row);
  });
})();
