// The script of `render view`: scrolling through many images, marks by keys, the tray, the player. No other script of ours.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// What is said for a moment.

let toastTimer = 0;
function toast(text, bad = false) {
  const box = $("#toast");
  if (!box) return;
  box.textContent = text;
  box.classList.toggle("bad", bad);
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), bad ? 8000 : 1800);
}

// The grid: pages of images, those near the window alone are in the document.

const NEAR = 1400, FAR = 5000, REST_MS = 70;  // pixels, and how long a page must stay near before it is asked for

function startScroll(frames) {
  const total = Number(frames.dataset.total), size = Number(frames.dataset.page), first = Number(frames.dataset.first);
  const filled = $(".page", frames), more = $(".more");
  if (more) more.remove();
  const columns = () => getComputedStyle(filled).gridTemplateColumns.split(" ").length;
  const rowHeight = () => (filled.firstElementChild?.getBoundingClientRect().height || 150) + 6;
  const heightOf = (page) => Math.ceil(page.count / columns()) * rowHeight();
  const pages = [];
  for (let place = first; place < total; place += size) {
    const section = place === first ? filled : document.createElement("section");
    const page = { place, count: Math.min(size, total - place), section, timer: 0, full: place === first };
    section.className = "page";
    section.dataset.place = place;
    section.setAttribute("aria-label", `images from ${place + 1}`);
    pages.push(page);
    if (!page.full) frames.append(section);
  }
  const byElement = new Map(pages.map((page) => [page.section, page]));
  const size_all = () => { for (const page of pages) page.section.style.height = page.full ? "" : `${heightOf(page) - 6}px`; };
  const ask = (page) => {
    if (page.full || page.asked) return;
    page.asked = true;
    const url = `/images/part?${frames.dataset.query}${frames.dataset.query ? "&" : ""}first=${page.place}`;
    const done = () => {
      page.asked = false;
      page.full = page.section.childElementCount > 0;
      page.section.style.height = "";
      if (page.wanted) { focusCell(page.section, page.wanted); page.wanted = null; }
    };
    // The section is the source: of two requests of one element htmx drops one.
    htmx.ajax("GET", url, { source: page.section, target: page.section, swap: "innerHTML" }).then(done, done);
  };
  const drop = (page) => {
    if (!page.full || page.section.contains(document.activeElement)) return;
    page.section.style.height = `${page.section.getBoundingClientRect().height}px`;
    page.section.replaceChildren();
    page.full = false;
  };
  new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const page = byElement.get(entry.target);
      clearTimeout(page.timer);
      if (entry.isIntersecting) page.timer = setTimeout(() => ask(page), REST_MS);
    }
  }, { rootMargin: `${NEAR}px 0px` }).observe_all(pages.map((page) => page.section));
  new IntersectionObserver((entries) => {
    for (const entry of entries) if (!entry.isIntersecting) drop(byElement.get(entry.target));
  }, { rootMargin: `${FAR}px 0px` }).observe_all(pages.map((page) => page.section));
  size_all();
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; size_all(); } });
  frames.resized = size_all;
  frames.after = (section) => { const page = byElement.get(section); return pages[pages.indexOf(page) + 1]; };
  frames.ask = (page) => { page.wanted = "first"; page.section.scrollIntoView({ block: "nearest" }); ask(page); };
}
IntersectionObserver.prototype.observe_all = function (elements) { for (const one of elements) this.observe(one); };

function focusCell(section, which) {
  const links = all(".cell .pic", section);
  (which === "first" ? links[0] : links[links.length - 1])?.focus();
}

function setSize(size) {
  const frames = $("#frames");
  if (!frames) return;
  frames.dataset.size = size;
  frames.resized?.();
  try { localStorage.setItem("render-size", size); } catch { /* private windows keep nothing */ }
}

// Where the keys act: the image that has the focus, the one of this page, or the one under the pointer.

let hovered = null;
document.addEventListener("pointerover", (event) => { hovered = event.target.closest?.("[data-key]") || null; });
const current = () => document.activeElement?.closest?.("[data-key]") || $("[data-single]") || hovered;

function moveFocus(step, rows) {
  const cells = all(".cell .pic");
  if (!cells.length) return false;
  const here = cells.indexOf(document.activeElement);
  if (here < 0) { (cells.find((cell) => cell.getBoundingClientRect().top > 48) || cells[0]).focus(); return true; }
  const columns = getComputedStyle(document.activeElement.closest(".page") || document.body).gridTemplateColumns.split(" ").length;
  const there = here + (rows ? rows * columns : step);
  if (there >= cells.length) {
    const next = $("#frames")?.after?.(document.activeElement.closest(".page"));
    if (next) $("#frames").ask(next);
    return true;
  }
  cells[clamp(there, 0, cells.length - 1)].focus();
  return true;
}

// Marks.

const channel = "BroadcastChannel" in window ? new BroadcastChannel("render-marks") : null;
if (channel) channel.onmessage = (event) => show(event.data);

async function send(path, body) {
  let answer;
  try {
    answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "X-Render": "1" }, body: JSON.stringify(body) });
  } catch {
    toast("The server does not answer: the mark is not kept.", true);
    return null;
  }
  if (!answer.ok) { toast(await answer.text(), true); return null; }
  const found = await answer.json();
  show(found.marks);
  channel?.postMessage(found.marks);
  if (found.problem) toast(found.problem, true);
  return found.marks;
}

const NAMES = { keep: "kept", reject: "rejected" };
function badge(className, text, title) {
  const found = document.createElement("span");
  found.className = `badge ${className}`;
  found.textContent = text;
  if (title) found.title = title;
  return found;
}

function show(marks) {
  for (const [key, mark] of Object.entries(marks)) {
    for (const cell of all(`[data-key="${CSS.escape(key)}"]`)) {
      for (const name of ["mark", "rating", "note"]) {
        if (mark[name]) cell.dataset[name] = mark[name]; else delete cell.dataset[name];
      }
    }
  }
  document.dispatchEvent(new CustomEvent("render:marks", { detail: marks }));
  paint();
}

function paint() {
  for (const cell of all("[data-key]")) {
    const box = $(".badges", cell) || (cell.dataset.single !== undefined ? $(".badges") : null);
    if (!box || cell.painted === `${cell.dataset.key} ${cell.dataset.mark} ${cell.dataset.rating} ${cell.dataset.note}`) continue;
    cell.painted = `${cell.dataset.key} ${cell.dataset.mark} ${cell.dataset.rating} ${cell.dataset.note}`;
    const { mark, rating, note } = cell.dataset, badges = [];
    if (mark) badges.push(badge(mark, NAMES[mark]));
    if (rating) { const stars = badge("stars", "★".repeat(rating)); stars.setAttribute("aria-label", `rated ${rating} of 5`); badges.push(stars); }
    if (note) badges.push(badge("noted", "note", note));
    box.replaceChildren(...badges);
  }
  const one = $("[data-single]");
  if (!one) return;
  for (const button of all(".markbar [data-do]")) {
    const what = button.dataset.do;
    if (what in NAMES) button.setAttribute("aria-pressed", String(one.dataset.mark === what));
    if (/^[1-5]$/.test(what)) button.classList.toggle("lit", Number(one.dataset.rating || 0) >= Number(what));
  }
}

async function act(what) {
  if (what === "undo") {
    const marks = await send("/undo", {});
    if (marks) toast(Object.keys(marks).length ? "Undone" : "Nothing to undo");
    return;
  }
  const cell = current();
  if (!cell) { toast("Choose an image first: with the arrow keys or the pointer."); return; }
  const keys = [cell.dataset.key];
  if (what in NAMES) {
    const mark = cell.dataset.mark === what ? "" : what;
    if (await send("/mark", { keys, mark })) toast(mark ? NAMES[mark][0].toUpperCase() + NAMES[mark].slice(1) : "No mark");
  } else if (/^[0-5]$/.test(what)) {
    if (await send("/mark", { keys, rating: Number(what) || null })) toast(Number(what) ? "★".repeat(Number(what)) : "No rating");
  } else if (what === "note") {
    note(cell);
  } else if (what === "compare") {
    putAside(cell.dataset.key);
  }
}

function note(cell) {
  const dialog = $("#note"), text = $("#note-text"), focused = document.activeElement;
  text.value = cell.dataset.note || "";
  dialog.returnValue = "";
  dialog.onclose = async () => {
    if (dialog.returnValue === "save" && (await send("/mark", { keys: [cell.dataset.key], note: text.value.trim() }))) toast("Noted");
    focused?.focus?.();
  };
  dialog.showModal();
  text.focus();
}

// The tray: up to four images to compare.

const aside = () => { try { return JSON.parse(sessionStorage.getItem("render-aside") || "[]"); } catch { return []; } };
function putAside(key) {
  const keys = aside();
  const there = keys.indexOf(key);
  if (there >= 0) keys.splice(there, 1); else if (keys.length < 4) keys.push(key); else { toast("Four are aside already."); return; }
  sessionStorage.setItem("render-aside", JSON.stringify(keys));
  showTray();
}

function showTray() {
  const tray = $("#tray"), keys = aside();
  if (!tray) return;
  tray.hidden = !keys.length || location.pathname === "/compare";
  for (const cell of all(".cell[data-key]")) cell.toggleAttribute("data-aside", keys.includes(cell.dataset.key));
  const thumbs = keys.map((key) => {
    const button = document.createElement("button"), image = document.createElement("img");
    button.type = "button";
    button.className = "thumb";
    button.setAttribute("aria-label", "Take it out of the comparison");
    image.src = `/thumb/${key}`;
    image.alt = "";
    button.append(image);
    button.onclick = () => putAside(key);
    return button;
  });
  const link = document.createElement("a"), clear = document.createElement("button");
  link.className = "button primary";
  link.href = `/compare?${keys.map((key) => `k=${key}`).join("&")}`;
  link.textContent = keys.length < 2 ? "Put another one aside" : `Compare ${keys.length}`;
  if (keys.length < 2) link.removeAttribute("href");
  clear.type = "button";
  clear.textContent = "Clear";
  clear.onclick = () => { sessionStorage.removeItem("render-aside"); showTray(); };
  tray.replaceChildren(...thumbs, link, clear);
}

// Walks.

function startPlayer(player) {
  const frames = JSON.parse(player.dataset.player), screen = $(".screen", player), scrub = $("[data-scrub]", player);
  const stage = $(".stage", player), play = $("[data-play]", player), fps = $("[data-fps]", player), open = $("[data-open]", player);
  const cache = new Map();
  let place = 0, timer = 0, direction = 1;
  const load = (number) => {
    if (number < 0 || number >= frames.length || cache.has(number)) return;
    const image = new Image();
    image.src = frames[number].src;
    cache.set(number, image);
    if (cache.size > 400) cache.delete(cache.keys().next().value);
  };
  const go = (number) => {
    place = clamp(number, 0, frames.length - 1);
    const one = frames[place];
    load(place);
    screen.src = one.src;
    screen.alt = one.prompts.join(" → ");
    scrub.value = place;
    scrub.setAttribute("aria-valuetext", `frame ${one.index}, ${screen.alt}`);
    $("[data-where]", player).textContent = `frame ${one.index} · ${place + 1} of ${frames.length} · seed ${one.seed}`;
    const text = $("[data-prompts]", player), t = document.createElement("b");
    t.textContent = one.is_keyframe ? "keyframe" : `t ${one.t.toFixed(3)}`;
    text.replaceChildren(t, ` · ${one.prompts.join(" → ")}`);
    if (open) open.href = `/frame/${one.key}`;
    if (stage.dataset.key !== one.key) {
      Object.assign(stage.dataset, { key: one.key });
      for (const name of ["mark", "rating", "note"]) {
        if (marks[one.key]?.[name]) stage.dataset[name] = marks[one.key][name]; else delete stage.dataset[name];
      }
      paint();
    }
    for (let ahead = 1; ahead < 12; ahead += 1) load(place + ahead * direction);
  };
  const marks = Object.fromEntries(frames.map((one) => [one.key, one]));
  document.addEventListener("render:marks", (event) => { for (const [key, mark] of Object.entries(event.detail)) Object.assign(marks[key] || {}, mark); });
  const stop = () => { clearTimeout(timer); timer = 0; play.textContent = "▶"; play.setAttribute("aria-label", "Play"); };
  const tick = () => {
    const started = performance.now(), bounce = $("[data-bounce]", player).checked;
    if (bounce && (place + direction < 0 || place + direction >= frames.length)) direction = -direction;
    if (!bounce) direction = 1;
    const next = (place + direction + frames.length) % frames.length;
    load(next);
    const image = cache.get(next);
    (image.decode ? image.decode().catch(() => {}) : Promise.resolve()).then(() => {
      if (!timer) return;
      go(next);
      timer = setTimeout(tick, Math.max(0, 1000 / Number(fps.value) - (performance.now() - started)));
    });
  };
  const toggle = () => {
    if (timer) { stop(); return; }
    play.textContent = "❚❚";
    play.setAttribute("aria-label", "Pause");
    timer = setTimeout(tick, 1000 / Number(fps.value));
  };
  play.onclick = toggle;
  for (const button of all("[data-step]", player)) button.onclick = () => { stop(); go(place + Number(button.dataset.step)); };
  scrub.oninput = () => { stop(); go(Number(scrub.value)); };
  player.addEventListener("click", (event) => {
    const line = event.target.closest(".distances svg");
    if (!line) return;
    const box = line.getBoundingClientRect();
    stop();
    go(Math.round(((event.clientX - box.left) / box.width) * (frames.length - 1)));
  });
  player.walk = { toggle, move: (by) => { stop(); go(place + by); } };
  go(0);
}

// Keys.

const DO = { k: "keep", r: "reject", n: "note", u: "undo", c: "compare", 0: "0", 1: "1", 2: "2", 3: "3", 4: "4", 5: "5" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const target = event.target;
  if ($("dialog[open]") || target.matches?.("textarea, select, input:not([type=checkbox], [type=radio], [type=range])")) {
    if (event.key === "Escape" && target.matches?.("input")) target.blur();
    return;
  }
  const player = $("[data-player]"), slider = target.closest?.("img-comparison-slider"), plain = target.matches?.("input");
  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (arrows && !slider && !plain) {
    if (player?.walk) { if (arrows[0]) { player.walk.move(arrows[0]); event.preventDefault(); } return; }
    const link = arrows[0] && $(arrows[0] < 0 ? ".one a[rel=prev]" : ".one a[rel=next]");
    if (link) { link.click(); event.preventDefault(); return; }
    if ($("#frames") && moveFocus(...arrows)) event.preventDefault();
    return;
  }
  if (event.key === " " && player?.walk && !target.matches?.("button, a, summary, input")) { player.walk.toggle(); event.preventDefault(); }
  else if (event.key === "/" && $("#search")) { $("#search").focus(); event.preventDefault(); }
  else if (event.key === "?" && $("#help")) $("#help").showModal();
  else if (event.key === "Escape" && $("[data-back]")) $("[data-back]").click();
  else if (DO[event.key.toLowerCase()] && $("#toast") && !event.repeat) { act(DO[event.key.toLowerCase()]); event.preventDefault(); }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("[data-do], [data-copy], [data-help], [data-reload]");
  if (!button) return;
  if (button.dataset.do) act(button.dataset.do);
  if (button.dataset.help !== undefined) $("#help").showModal();
  if (button.dataset.reload !== undefined) { event.preventDefault(); location.reload(); }
  if (button.dataset.copy) navigator.clipboard.writeText($(`#${button.dataset.copy}`).textContent).then(() => toast("Copied"));
});

// The form over the grid: what is empty does not go into the address.

function startForm(form) {
  const column = $("#filter-column"), operator = $("#filter-operator"), value = $("#filter-value");
  const fit = () => {
    const kind = column.selectedOptions[0]?.dataset.kind;
    for (const option of operator.options) option.hidden = option.disabled = Boolean(kind) && !option.dataset.kinds.split(" ").includes(kind);
    if (operator.selectedOptions[0]?.disabled) operator.value = [...operator.options].find((option) => !option.disabled).value;
    value.hidden = operator.selectedOptions[0]?.dataset.valueless === "1";
  };
  column.addEventListener("change", fit);
  operator.addEventListener("change", fit);
  form.addEventListener("submit", () => {
    if (!column.value) for (const field of [column, operator, value]) field.disabled = true;
    for (const field of all("[name=q], [name=s], [name=x], [name=y]", form)) if (!field.value) field.disabled = true;
    const shape = $("[name=view]:checked", form);
    if (shape?.value === "grid") shape.disabled = true;
  });
  addEventListener("pageshow", () => { for (const field of all(":disabled:not(option)", form)) field.disabled = false; fit(); });
  for (const field of all("[data-submits]", form)) field.addEventListener("change", () => form.requestSubmit());
}

document.addEventListener("htmx:afterSettle", () => { paint(); showTray(); });
document.addEventListener("htmx:responseError", (event) => {
  const text = event.detail.xhr.responseText;
  if (event.detail.xhr.status === 403) toast("The server was started anew: open the address that it prints.", true);
  else if (event.detail.target?.classList?.contains("panel") || event.detail.target?.tagName === "DIV") {
    const problem = document.createElement("p");
    problem.className = "problem";
    problem.textContent = text;
    event.detail.target.replaceChildren(problem);
  }
});

function start() {
  const frames = $("#frames"), player = $("[data-player]"), form = $("#bar"), slider = $("img-comparison-slider");
  if (form) startForm(form);
  if (frames) {
    let size = "medium";
    try { size = localStorage.getItem("render-size") || size; } catch { /* private windows keep nothing */ }
    const choice = $(`[data-size="${size}"]`);
    if (choice) choice.checked = true;
    frames.dataset.size = size;
    if (!document.body.dataset.static && "htmx" in window) startScroll(frames);
  }
  for (const choice of all("input[data-size]")) choice.addEventListener("change", () => setSize(choice.dataset.size));
  if (player) startPlayer(player);
  slider?.addEventListener("slide", () => slider.setAttribute("aria-valuenow", Math.round(slider.value)));
  showTray();
  paint();
  document.body.dataset.ready = "1";
}
start();
