"use strict";
/* Draws the figures of a page's sections and follows dark screens, phones and paper.
 *
 * The element `data` holds {inks, figures: {section: {words: {data, layout}}}}. Every section with a
 * figure has an element `plot-SECTION`, and `switch-SECTION` with radio buttons for its words.
 *
 * Figures.data      what the page holds
 * Figures.prepare   functions (id, figure, inks), called before each drawing: push yours
 * Figures.inks()    colours of the moment, by the names of `theme.Inks`
 */
const Figures = (() => {
  const PRINT_WIDTH = 700;
  const byId = (id) => document.getElementById(id);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const own = { data: JSON.parse(byId("data").textContent), prepare: [], printing: false };

  /* Figures are made in the light inks, and repainted for a dark screen. */
  function painted(value, swap) {
    if (typeof value === "string") return swap.get(value) ?? value;
    if (Array.isArray(value)) return value.map((item) => painted(item, swap));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, painted(item, swap)]));
  }

  own.inks = () => own.data.inks[dark.matches && !own.printing ? "dark" : "light"];

  function swaps() {
    const { light } = own.data.inks;
    return new Map(Object.entries(own.inks()).map(([name, ink]) => [light[name], ink]));
  }

  function fitPhone(layout) {
    layout.font.size = 12;
    layout.margin = { ...layout.margin, l: 44, r: 10, t: 12 };
    /* Under the axis, however low the figure is. */
    layout.legend = { ...layout.legend, orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom" };
    /* A finger scrolls the page; zooming is for the mouse. */
    layout.dragmode = false;
    /* No room for the names of the paper models: a tap shows them. */
    layout.annotations = (layout.annotations ?? []).filter((note) => !["paper", "timm"].includes(note.name));
  }

  function draw(id) {
    const known = Object.keys(own.data.figures[id]);
    const words = document.querySelector(`#switch-${id} input:checked`)?.value ?? known[0];
    const figure = painted(own.data.figures[id][words], swaps());
    for (const prepare of own.prepare) prepare(id, figure, own.inks());
    figure.layout.uirevision ??= words;
    if (narrow.matches && !own.printing) fitPhone(figure.layout);
    if (own.printing) figure.layout.width = PRINT_WIDTH;
    const config = {
      responsive: true,
      displaylogo: false,
      /* Plotly would offer to upload the figure. */
      showSendToCloud: false,
      plotlyServerURL: "",
      displayModeBar: narrow.matches ? false : "hover",
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    Plotly.react(byId(`plot-${id}`), { ...figure, config });
  }

  function drawAll() { for (const id of Object.keys(own.data.figures)) draw(id); }

  function print(printing) {
    for (const part of document.querySelectorAll("details")) part.open = printing;
    own.printing = printing;
    drawAll();
  }

  document.addEventListener("change", (event) => {
    const id = /^switch-(.+)$/.exec(event.target.name ?? "")?.[1];
    if (id) draw(id);
  });
  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
  /* After the scripts of the page, which may prepare figures. */
  document.addEventListener("DOMContentLoaded", () => {
    drawAll();
    document.documentElement.dataset.ready = "true";
  });
  return own;
})();
