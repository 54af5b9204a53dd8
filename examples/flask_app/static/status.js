// Shows the shards as they are now, every few seconds, while somebody looks. Without JavaScript the
// page has a link to do it by hand.
"use strict";

const live = document.getElementById("live");
const link = document.getElementById("refresh");
const EVERY_MS = 5000;

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(live.dataset.source);
    if (!answer.ok) throw new Error(answer.statusText);
    live.innerHTML = await answer.text();
    link.textContent = "Live";
    link.classList.add("live");
  } catch {
    link.textContent = "The server does not answer";
    link.classList.remove("live");
  }
}

setInterval(refresh, EVERY_MS);
refresh();
