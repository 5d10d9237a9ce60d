"use strict";
/* A live page: asks its own origin for news and shows them in place. See `render` in page.py. */
(() => {
  const LONGEST = 60;
  const line = document.createElement("p");
  line.id = "live";
  line.setAttribute("role", "status");
  document.getElementById("header").before(line);
  const every = Figures.data.refresh;
  const known = new Map();
  remember(Figures.data, (element, html) => known.set(element, html));
  let revision = "";
  let wait = every;

  function put(element, html) {
    if (known.get(element) === html) return;
    const open = [...element.querySelectorAll("details")].map((part) => part.open);
    const chosen = element.querySelector("input:checked")?.value;
    element.innerHTML = html;
    known.set(element, html);
    element.querySelectorAll("details").forEach((part, place) => { part.open = open[place] ?? false; });
    for (const input of element.querySelectorAll("input[type=radio]")) {
      if (input.value === chosen) input.checked = true;
    }
  }

  function remember(fresh, keep) {
    keep(document.getElementById("header"), fresh.header);
    keep(document.getElementById("contents"), fresh.contents);
    for (const [id, section] of Object.entries(fresh.sections)) {
      for (const part of ["switch", "controls", "lead", "missing", "note", "body"]) {
        keep(document.getElementById(`${part}-${id}`), section[part]);
      }
    }
  }

  function replaceSections(fresh) {
    let before = document.getElementById("contents");
    for (const [id, section] of Object.entries(fresh.sections)) {
      if (!document.getElementById(id)) before.insertAdjacentHTML("afterend", section.shell);
      before = document.getElementById(id);
    }
    remember(fresh, put);
    for (const [id, section] of Object.entries(fresh.sections)) {
      document.getElementById(id).hidden = section.hidden;
      for (const part of ["lead", "missing", "note"]) document.getElementById(`${part}-${id}`).hidden = !section[part];
    }
  }

  /* What is looked at stays where it is, however much is added above it. */
  function still(change) {
    const sections = [...document.querySelectorAll("section")];
    const looked = sections.find((part) => part.getBoundingClientRect().bottom > 0);
    const top = looked?.getBoundingClientRect().top ?? 0;
    change();
    if (top < 0 || window.scrollY > 0) window.scrollBy(0, (looked?.getBoundingClientRect().top ?? top) - top);
  }

  function say(text, problem = false) {
    line.textContent = text;
    line.classList.toggle("problem", problem);
  }

  async function fetched() {
    const answer = await fetch(`data.json?revision=${encodeURIComponent(revision)}`, { cache: "no-store" });
    if (answer.status === 204) return null;
    /* The study cannot be read: the server says why. */
    if (answer.status === 503) throw Object.assign(new Error(), await answer.json());
    if (answer.status === 200) return answer.json();
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.problem ?? "");
  }

  async function ask() {
    let fresh = null;
    try {
      fresh = await fetched();
      wait = every;
      if (!fresh && line.classList.contains("problem")) say("Live.");
    } catch (error) {
      wait = Math.min(LONGEST, 2 * wait);
      say(error.problem ?? "The search no longer answers; this is its last state. Asking again.", true);
    }
    if (!fresh?.ended) window.setTimeout(next, 1000 * wait);
    if (!fresh) return;
    revision = fresh.revision;
    still(() => { replaceSections(fresh); StudyPage.renew(fresh); });
    say(fresh.ended || `Live: ${fresh.status}, as of ${new Date().toLocaleTimeString()}.`);
  }

  /* Nobody looks at a hidden page. */
  function next() {
    if (document.hidden) document.addEventListener("visibilitychange", ask, { once: true });
    else ask();
  }

  document.documentElement.style.overflowAnchor = "none";
  say("Live.");
  document.addEventListener("DOMContentLoaded", next);
})();
