// Newer figures: the new page is worked into the old one, so that focus, scrolling and what was typed stay.

import { drawAll, make } from "./charts.js";

const LONGEST_WAIT = 60;
const QUIET = 30_000;
const PATIENCE = 10;

// What tells a node from its neighbours: its id, or the moment, name or link of its row.
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  if (node.id) return `#${node.id}`;
  if (node.localName !== "tr" && node.localName !== "li") return "";
  const { at, key } = node.querySelector("[data-at], [data-key]")?.dataset ?? {};
  return key ?? `${at ?? ""} ${node.querySelector("a")?.getAttribute("href") ?? ""}`.trim();
}

function isOwn(node) {
  return node.nodeType === Node.ELEMENT_NODE && node.dataset.own !== undefined;
}

function isLike(one, other) {
  return one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
}

function update(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  // Which details are open is the reader's business, and styles are only ever ours.
  const kept = old.localName === "details" ? ["open", "style"] : ["style"];
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !kept.includes(name)) old.setAttribute(name, value);
  }
  updateChildren(old, fresh);
}

function updateChildren(old, fresh) {
  const wantedKeys = new Set([...fresh.childNodes].map(keyOf).filter(Boolean));
  const known = new Map([...old.childNodes].map((node) => [keyOf(node), node]));
  let next = old.firstChild;
  const pass = () => {
    while (next && (isOwn(next) || (keyOf(next) && !wantedKeys.has(keyOf(next))))) {
      const gone = isOwn(next) ? null : next;
      next = next.nextSibling;
      gone?.remove();
    }
  };
  for (const wanted of [...fresh.childNodes]) {
    pass();
    const key = keyOf(wanted);
    const same = key ? known.get(key) : undefined;
    // One node for each that is wanted, also where several have the same key.
    if (key) known.delete(key);
    if (next && isLike(next, wanted)) {
      update(next, wanted);
      next = next.nextSibling;
    } else if (same && same.nodeName === wanted.nodeName) {
      old.insertBefore(same, next);
      update(same, wanted);
    } else {
      old.insertBefore(wanted, next);
    }
  }
  pass();
  while (next) {
    const gone = isOwn(next) ? null : next;
    next = next.nextSibling;
    gone?.remove();
  }
}

function replaceMain(text) {
  const main = document.querySelector("main");
  const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
  if (!fresh) throw new Error("an answer without a page");
  const focused = document.activeElement;
  update(main, fresh);
  if (focused !== document.activeElement && main !== focused && focused !== document.body) {
    (focused.isConnected ? focused : main).focus({ preventScroll: true });
  }
  drawAll();
}

// Ask for the page every few seconds, as long as it is looked at and not paused.
export function keepAsking() {
  const main = document.querySelector("main[data-live]");
  const place = document.getElementById("live");
  if (!main || !place) return;
  const every = Math.max(Number(main.dataset.live) || 5, 1);
  const state = make("span", { class: "state" });
  const told = make("span", { role: "status", class: "heard" });
  const button = make("button", { type: "button", "aria-pressed": "false" }, "Pause updates");
  place.append(button, state, told);

  let etag = main.dataset.etag ?? "";
  let wait = every;
  let timer = 0;
  let asking = null;
  let announced = 0;
  const isPaused = () => button.getAttribute("aria-pressed") === "true";

  function show(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function announce(text) {
    if (Date.now() - announced < QUIET) return;
    announced = Date.now();
    told.textContent = text;
  }

  function rest() {
    clearTimeout(timer);
    if (!document.hidden && !isPaused()) timer = setTimeout(ask, wait * 1000);
  }

  async function ask() {
    clearTimeout(timer);
    asking?.abort();
    asking = new AbortController();
    const begun = performance.now();
    try {
      const limit = AbortSignal.any([asking.signal, AbortSignal.timeout(30_000)]);
      const headers = etag ? { "If-None-Match": etag } : {};
      const answer = await fetch(location.href, { headers, cache: "no-store", signal: limit });
      if (answer.status === 200) {
        const text = await answer.text();
        replaceMain(text);
        etag = answer.headers.get("ETag") ?? "";
        document.documentElement.dataset.updates = String(Number(document.documentElement.dataset.updates ?? 0) + 1);
        const zone = main.dataset.zone || "UTC";
        const now = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: zone }).format();
        announce(`The figures were updated at ${now} ${zone}.`);
      } else if (answer.status !== 304) {
        throw new Error(`status ${answer.status}`);
      }
      // A server that takes long for an answer is not asked all the time.
      wait = Math.max(every, Math.ceil((performance.now() - begun) * PATIENCE / 1000));
      show(`Updates itself every ${wait} s.`);
    } catch (error) {
      if (error.name === "AbortError") return;
      wait = Math.min(wait * 2, LONGEST_WAIT);
      const isAnswer = error.message.startsWith("status");
      const reason = isAnswer ? `The server answers with ${error.message}` : "The server does not answer";
      show(`${reason}: these figures may be old. Next try in ${wait} s.`);
      announce("These figures may be old: they could not be updated.");
    }
    rest();
  }

  button.addEventListener("click", () => {
    const pause = !isPaused();
    button.setAttribute("aria-pressed", String(pause));
    if (pause) {
      clearTimeout(timer);
      asking?.abort();
      show("Updates are paused.");
    } else {
      wait = every;
      ask();
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!isPaused()) ask();
  });
  show(`Updates itself every ${every} s.`);
  rest();
}
