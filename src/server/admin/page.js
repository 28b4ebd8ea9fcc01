"use strict";
// Every two seconds, while somebody looks, the page takes what a newer one would show.
let fails = 0;
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch("/status?format=html", { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    fails = 0;
  } catch {
    fails += 1;
    const state = document.querySelector(".state");
    if (fails > 1 && state) { state.className = "state"; state.textContent = "no answer"; }
  }
}, 2000);
