"use strict";

// Times as people here read them.
function localTimes(root) {
  for (const t of root.querySelectorAll("time[datetime]")) {
    const at = new Date(t.dateTime);
    if (isNaN(at)) continue;
    t.title = t.dateTime;
    t.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  }
}

// Secrets can be copied where the browser lets us.
function copying() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.previousElementSibling.value);
      button.textContent = "Copied";
    });
  }
}

// Parts of the page that are marked data-live follow what happens to a device, or to all ("*"): when something does,
// the page is fetched anew, at most once a second, and these parts are taken over.
function following() {
  const live = document.querySelector("[data-live]");
  if (!live) return;
  let due = false, busy = false;
  async function refresh() {
    if (busy) { due = true; return; }
    busy = true; due = false;
    try {
      const response = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" } });
      if (response.ok && !response.redirected) take(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch { due = true; }
    setTimeout(() => { busy = false; if (due) refresh(); }, 1000);
  }
  function take(fresh) {
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(part.id);
      if (!next) continue;
      localTimes(next);
      if (next.innerHTML === part.innerHTML) continue;
      const focused = [...part.querySelectorAll("a, button, input, summary")].indexOf(document.activeElement);
      const open = [...part.querySelectorAll("details")].map((d) => d.open);
      part.replaceChildren(...next.childNodes);
      part.querySelectorAll("details").forEach((d, i) => { if (i in open) d.open = open[i]; });
      if (focused >= 0) part.querySelectorAll("a, button, input, summary")[focused]?.focus();
    }
  }
  const device = live.dataset.live === "*" ? "" : "?device=" + encodeURIComponent(live.dataset.live);
  const events = new EventSource("/api/v1/events" + device);
  events.onmessage = refresh;
  events.onopen = refresh; // what has happened while nobody listened
}

localTimes(document);
copying();
following();
