// What forms alone cannot do. Everything works without it, with one click or a wait more.
"use strict";
(() => {
  const on = (name, act) => document.addEventListener(name, act);

  // A link to sign in needs no second click.
  const enter = document.querySelector("form[data-submit]");
  if (enter) enter.requestSubmit();

  // On a phone, the name of this screen may be out of sight.
  document.querySelector(".nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

  // Progress is drawn each second; what is read aloud changes only when its words do.
  on("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    if (target.getAttribute("role") === "status" && target.textContent.trim() === fragment.textContent.trim()) {
      event.detail.shouldSwap = false;
    }
  });

  // A dangerous deed is asked about once more.
  on("submit", (event) => {
    const question = event.submitter?.dataset.ask || event.target.dataset.ask;
    if (question && !confirm(question)) event.preventDefault();
  });

  // Choosing something that a field belongs to leads into the field; typing chooses.
  on("input", (event) => {
    const chosen = event.target.dataset.chooses;
    if (chosen) document.getElementById(chosen).checked = true;
  });

  // "/" leads to the search, as on many pages.
  on("keydown", (event) => {
    const typing = event.target.closest("input,textarea,select");
    const search = document.querySelector("input[type=search]");
    if (event.key === "/" && search && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      search.focus();
    }
  });

  on("click", (event) => {
    if (event.target.closest("[data-print]")) print();
  });
})();
