// The first page: how the gateway is, and one chat. It speaks to its own origin alone; texts are set as text, never
// as markup. A token in the fragment is taken once and removed from the address.

const CHAT = "chat:page";
const find = (id) => document.getElementById(id);

function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", "/");
  }
  return sessionStorage.getItem("token");
}

async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem("token")}`, ...options.headers };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    sessionStorage.removeItem("token");
    askForToken("this token is not valid");
  }
  if (!response.ok) throw new Error((await response.json()).error.message);
  return response;
}

function askForToken(text) {
  find("state").textContent = text;
  find("login").hidden = false;
  find("main").hidden = true;
}

const megabytes = (bytes) => `${(bytes / 1048576).toFixed(1)} MB`;

async function showStatus() {
  const status = await (await call("/api/status")).json();
  const total = Object.values(status.sessions).flatMap(Object.values).reduce((sum, count) => sum + count, 0);
  const facts = {
    Model: status.model,
    Up: `${Math.floor(status.uptime_s / 3600)} h ${Math.floor(status.uptime_s / 60) % 60} min`,
    Memory: `${megabytes(status.rss_bytes)}, ${status.level}`,
    Disk: megabytes(status.storage.main + status.storage.wal),
    Sessions: `${total}, ${status.overdue} overdue`,
  };
  find("state").textContent = `up, version ${status.version}`;
  find("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => {
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    return [term, text];
  }));
}

function place(id, role, text) {
  let item = find(id);
  if (!item) {
    item = document.createElement("li");
    item.id = id;
    find("entries").append(item);
  }
  item.className = role;
  item.textContent = text;
  item.scrollIntoView({ block: "nearest" });
}

let seen = 0;
let draft = "";

function onEvent(name, data) {
  if (name === "delta") {
    draft += data.text;
    place("draft", "assistant", draft);
  } else if (name === "entry") {
    find("draft")?.remove();
    draft = "";
    seen = data.seq;
    const text = data.type === "tool_call" ? `${data.tool} ${data.text}` : data.text;
    place(`entry-${data.seq}`, data.type.startsWith("tool") ? "tool" : data.role, data.blob ? `${text}… (${data.bytes} bytes)` : text);
  }
}

async function follow() {
  for (;;) {
    try {
      const path = `/api/sessions/${encodeURIComponent(CHAT)}/events?after=${seen}`;
      const reader = (await call(path)).body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const blocks = (rest + part.value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 2)]));
          if (fields.event) onEvent(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (error) {
      if (!sessionStorage.getItem("token")) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}

async function start() {
  find("login").hidden = true;
  find("main").hidden = false;
  try {
    await showStatus();
    setInterval(() => showStatus().catch((error) => { find("state").textContent = error.message; }), 5000);
    follow();
  } catch (error) {
    find("state").textContent = error.message;
  }
}

find("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", find("token").value.trim());
  start();
});

find("talk").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = find("text").value;
  find("text").value = "";
  try {
    await call(`/api/sessions/${encodeURIComponent(CHAT)}/messages`, { method: "POST", body: JSON.stringify({ text }) });
  } catch (error) {
    find("state").textContent = error.message;
    find("text").value = text;
  }
});

find("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    find("talk").requestSubmit();
  }
});

if (takeToken()) start();
else askForToken("needs a token");
