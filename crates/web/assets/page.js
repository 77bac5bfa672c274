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

  // An address goes to the clipboard.
  for (const button of document.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) break;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.querySelector("[data-word]").textContent = button.dataset.copied;
    });
  }

  // Guests learn before they send that there is no room.
  on("submit", (event) => {
    const { room, large } = event.target.dataset;
    const files = [...(event.target.querySelector("input[type=file]")?.files ?? [])];
    if (room && files.reduce((sum, file) => sum + file.size, 0) > Number(room)) {
      event.preventDefault();
      event.target.querySelector("[data-status]").textContent = large;
    }
  });

  // Uploads: in parts, so that what broke off goes on where it was.
  const zone = document.querySelector("form[data-upload]");
  if (!zone) return;
  const PART = 4 * 1024 * 1024;
  const status = zone.querySelector("[data-status]");
  const bar = zone.querySelector("progress");
  const { token, storing, failed } = zone.dataset;
  const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  const idOf = async (path, file) => {
    const text = new TextEncoder().encode([path, file.size, file.lastModified].join("\n"));
    const digest = await crypto.subtle.digest("SHA-256", text);
    return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  };
  const send = async (path, file) => {
    const id = await idOf(path, file);
    let at = (await (await fetch(`/drop/part?id=${id}`)).json()).size;
    let tries = 0;
    status.textContent = path;
    bar.max = Math.max(file.size, 1);
    while (at < file.size) {
      bar.value = at;
      try {
        const body = file.slice(at, at + PART);
        const reply = await fetch(`/drop/part?id=${id}&at=${at}`, {
          method: "PUT", body, headers: { "x-ravelin-token": token },
        });
        if (!reply.ok && reply.status !== 409) throw new Error(reply.status);
        at = (await reply.json()).size;
        tries = 0;
      } catch (error) {
        tries += 1;
        if (tries > 5) throw error;
        await wait(500 * 2 ** tries);
      }
    }
    bar.value = bar.max;
    status.textContent = `${path}: ${storing}`;
    const body = new URLSearchParams({ token, id, name: path, size: file.size, modified: file.lastModified });
    const reply = await fetch("/drop/finish", { method: "POST", body });
    if (!reply.ok) throw new Error(reply.status);
  };
  const upload = async (files) => {
    const inside = zone.querySelector("[name=in]").value.trim().replace(/^\/+|\/+$/g, "");
    const button = zone.querySelector("button");
    bar.hidden = false;
    button.disabled = true;
    try {
      for (const [path, file] of files) await send(inside ? `${inside}/${path}` : path, file);
      location.assign(`/drop?told=uploaded&in=${encodeURIComponent(inside)}`);
    } catch {
      status.textContent = failed;
      button.disabled = false;
    }
  };
  zone.addEventListener("submit", (event) => {
    event.preventDefault();
    upload([...zone.querySelector("input[type=file]").files].map((file) => [file.name, file]));
  });
  // Folders come with all that is in them.
  const walk = async (entry, files) => {
    if (entry.isFile) {
      const file = await new Promise((done, failed) => entry.file(done, failed));
      files.push([entry.fullPath.replace(/^\//, ""), file]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const more = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!more.length) break;
      for (const inner of more) await walk(inner, files);
    }
  };
  on("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  on("dragleave", () => zone.classList.remove("over"));
  on("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const plain = [...event.dataTransfer.files];
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [];
    for (const entry of entries) await walk(entry, files);
    if (!entries.length) for (const file of plain) files.push([file.name, file]);
    if (files.length) upload(files);
  });
})();
