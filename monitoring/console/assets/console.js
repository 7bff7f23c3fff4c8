// Draws the charts and keeps the page fresh: a section is replaced only when its content has changed, so nothing flickers.
"use strict";

const COLOUR = /^var\((--[a-z0-9-]+)\)$/;

function inTheme(value, style) {
  if (typeof value === "string") {
    const name = COLOUR.exec(value);
    return name ? style.getPropertyValue(name[1]).trim() : value;
  }
  if (Array.isArray(value)) return value.map((item) => inTheme(item, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inTheme(item, style)]));
  }
  return value;
}

function draw(root) {
  if (!window.Plotly) return;
  const style = getComputedStyle(document.documentElement);
  for (const place of root.querySelectorAll(".chart[data-figure]")) {
    const figure = inTheme(JSON.parse(place.dataset.figure), style);
    window.Plotly.react(place, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }
}

function renew(before, after) {
  const oldChart = before.querySelector(".chart[data-figure]");
  const newChart = after.querySelector(".chart[data-figure]");
  if (oldChart && newChart) newChart.replaceWith(oldChart); // The drawn chart stays; only its numbers change.
  const figure = newChart && newChart.dataset.figure;
  for (const [index, detail] of before.querySelectorAll("details").entries()) {
    const same = after.querySelectorAll("details")[index];
    if (same) same.open = detail.open;
  }
  before.replaceWith(after);
  if (oldChart && figure) oldChart.dataset.figure = figure;
  draw(after);
}

let tag = "";

async function refresh() {
  const fresh = document.querySelector(".fresh");
  try {
    const answer = await fetch(document.body.dataset.fragment, { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (!answer.ok && answer.status !== 304) throw new Error(`answered ${answer.status}`);
    if (answer.status === 200) {
      tag = answer.headers.get("ETag") || "";
      const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
      const main = document.querySelector("main");
      const sections = [...parsed.querySelectorAll("main > section")];
      for (const section of sections) {
        const before = document.getElementById(section.id);
        if (!before) main.append(section), draw(section);
        else if (before.dataset.fingerprint !== section.dataset.fingerprint) renew(before, section);
      }
      const wanted = new Set(sections.map((section) => section.id));
      for (const before of [...main.children]) if (!wanted.has(before.id)) before.remove();
      // Moved only where the order is another one: moving an element takes the keyboard's focus from it.
      sections.forEach((section, place) => {
        const present = document.getElementById(section.id);
        if (main.children[place] !== present) main.insertBefore(present, main.children[place]);
      });
    }
    fresh.classList.remove("stale");
    fresh.textContent = "live";
  } catch {
    fresh.classList.add("stale");
    fresh.textContent = "console does not answer";
  }
}

draw(document);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(document));
const seconds = Number(document.body.dataset.refresh);
if (seconds > 0) setInterval(() => document.hidden || refresh(), seconds * 1000);
document.addEventListener("visibilitychange", () => document.hidden || refresh());
