// The dashboard in headless Chromium: each of its parts, axe-core's rules, the keyboard, and screenshots to look at.
//
// `tests/real/run` installs what is needed and starts this file: dashboard.mjs BINARY FOLDER
// Prints a line for each check; the screenshots are FOLDER/dashboard-*.png.
// Environment: SAMPLES_S, how long samples are waited for before the first screenshot; PAGE=FOLDER, take the page's own
// files from there and not from the binary, to work on them.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PHONE, answers, check, exitCode, fitsThePhone, launch, open, port, theme, until } from "./browser.mjs";

const [binary, home] = process.argv.slice(2);
const TOKEN = "a-token-of-the-admin-listener";
const RESOURCES = 120;
const [api, front, admin, engine] = [await port(), await port(), await port(), await port()];
const [site, origin] = [`http://127.0.0.1:${front}`, `http://127.0.0.1:${admin}`];

// An API whose resources change at paces of their own, one of which fails.
let ticks = 0;
setInterval(() => { ticks += 1; }, 700);
createServer((request, response) => {
  const number = Number(request.url.split("/").pop()) || 0;
  if (number === 7) { response.writeHead(500).end(); return; }
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ id: number, value: Math.floor(ticks / (1 + number % 9)), note: "x".repeat(20 * (number % 40)) }));
}).listen(api, "127.0.0.1");
const names = ["price", "stock", "orders", "weather", "chat", "build", "score", "room"];
const route = (name, at) => `  - { path: "/api/${name}/{id}", upstream: ${at % 3 ? "shop" : "weather-station"}, share: public, poll: { interval: ${1 + at % 3}s }${name === "room" ? ", presence: {}" : ""} }`;
const config = (node, front, admin) => `
listeners: [{ address: "127.0.0.1:${front}" }]
admin: { address: "127.0.0.1:${admin}", token: ${TOKEN} }
log: { access: false }
limits: { url_bytes: 256B }
cluster: { engine: redis, servers: ["127.0.0.1:${engine}"], secret: a secret of the nodes of this test alone, node: ${node} }
upstreams:
  shop: { servers: ["127.0.0.1:${api}"], budget: { rate: 200/s } }
  weather-station: { servers: ["127.0.0.1:${api}"] }
passthrough: shop
routes:
${names.map(route).join("\n")}
  - { path: "/legacy/{id}", upstream: shop, poll: off }
${[1, 2, 3].map((n) => `  - { path: "/more/${n}/{id}", upstream: shop, poll: { interval: 5s } }`).join("\n")}
`;
// Starts a program that ends with this one.
const start = (...words) => { const started = spawn(words[0], words.slice(1), { stdio: "ignore" }); process.on("exit", () => started.kill()); return started; };
const startNode = (node, front, admin) => {
  writeFileSync(join(home, `dashboard-${node}.yaml`), config(node, front, admin));
  return start(binary, "run", "--config", join(home, `dashboard-${node}.yaml`));
};
const redis = start("redis-server", "--port", String(engine), "--bind", "127.0.0.1", "--save", "", "--dir", home);
startNode("here", front, admin);
const other = startNode("elsewhere", await port(), await port());
await answers(`${origin}/ready`);
const follow = async (path) => { const answer = await fetch(site + path, { headers: { accept: "text/event-stream" } }); for await (const _ of answer.body); };
for (let at = 0; at < RESOURCES; at += 1) {
  for (let one = 0; one <= 40 / (1 + at); one += 1) follow(`/api/${names[at % names.length]}/${at}`).catch(() => {});
}
// What passes through, and what is refused, for as long as this runs.
setInterval(() => {
  fetch(`${site}/api/price/8`, { method: "POST" }).catch(() => {});
  fetch(`${site}/elsewhere`).catch(() => {});
  fetch(`${site}/legacy/1`).catch(() => {});
  fetch(`${site}/api/price/8?${"x".repeat(300)}`).catch(() => {});
}, 500);

const { browser, rules } = await launch(home);
const { page, wrong } = await open(browser, origin);
if (process.env.PAGE) {
  await page.setRequestInterception(true);
  page.on("request", (request) => {
    const file = join(process.env.PAGE, new URL(request.url()).pathname.replace("/-/dashboard/", ""));
    const type = file.endsWith(".css") ? "text/css" : "text/javascript";
    if (/\.(js|css)$/.test(file) && existsSync(file)) return request.respond({ body: readFileSync(file), contentType: type });
    return request.continue();
  });
}
const shot = (name) => page.screenshot({ path: join(home, `dashboard-${name}.png`) });
const whole = async (name) => { await page.evaluate(() => scrollTo(0, 0)); await page.screenshot({ path: join(home, `dashboard-${name}.png`), fullPage: true }); };
const text = (selector) => page.$eval(selector, (one) => one.innerText);
const has = (selector, words) => until(`${words} in ${selector}`, () => page.$$eval(selector, (all, words) => all.some((one) => one.innerText.includes(words)), words));
// Puts a text in the place of what a field holds.
const fill = async (selector, words) => { await page.$eval(selector, (one) => { one.focus(); one.select(); }); await page.keyboard.press("Backspace"); await page.keyboard.type(words); };
// Presses a button by its name, as the keyboard does.
async function press(within, label) {
  const button = await until(`the button ${label}`, async () => {
    const all = await page.$$(`${within} button`);
    for (const one of all) if ((await one.evaluate((it) => it.textContent)).trim().startsWith(label)) return one;
    return null;
  });
  await button.focus();
  await page.keyboard.press("Enter");
}

await page.setViewport({ width: 1360, height: 1340 });
await theme(page, "light");
await page.goto(`${origin}/`);
await page.waitForSelector(".ask input");
await rules(page, "token");
await page.type(".ask input", "not-the-token-of-this-listener");
await page.keyboard.press("Enter");
await has(".ask [role=alert]", "not the right one");
await fill(".ask input", TOKEN);
await page.keyboard.press("Enter");
await page.waitForSelector("#resources ~ .scroll tbody tr");
await page.waitForSelector(".plot canvas", { timeout: 30000 });
// A few samples make a line.
await new Promise((done) => setTimeout(done, Number(process.env.SAMPLES_S || 25) * 1000));
await rules(page, "light");
await shot("light");
await whole("light-whole");

// The plots.
const figures = await page.$$eval(".plot", (all) => all.map((one) => one.innerText));
const figure = (title) => figures.find((one) => one.startsWith(title)) || "";
check("what passed through is plotted by reason", ["method", "uncovered", "poll-off"].every((reason) => figure("Passed through, by reason").includes(reason)), figures.join("\n"));
check("what was refused is plotted by reason", figure("Refused, by reason").includes("url-bytes"), figures.join("\n"));
const meant = await page.$$eval(".plot li[title]", (all) => all.map((one) => one.title).filter(Boolean));
check("a reason says what it means", meant.includes("It is neither GET nor HEAD."), meant.join("\n"));
check("upstreams show their polls in flight", (await text(".upstreams")).includes("polls in flight"));

// The list: sorted, cut into pages, searched by the server.
const rows = () => page.$$eval("#resources ~ .scroll tbody tr", (all) => all.map((one) => one.querySelector("th button").innerText));
await page.$eval("#resources ~ .scroll thead th:nth-child(1) button", (one) => one.focus());
await page.keyboard.press("Enter");
await until("the order by path", async () => (await rows())[0] === "/api/build/101");
check("a column's button sorts by it", (await page.$eval("#resources ~ .scroll thead th:nth-child(1)", (one) => one.ariaSort)) === "ascending");
await press("#resources ~ .pages", "Next");
await has("#resources ~ .pages", "Page 2 of 5");
check("the next page has other rows", !(await rows()).includes("/api/build/101"));
await fill("#resources ~ .tools input", "room 15");
await until("the search", async () => (await rows()).length === 1);
check("the search is the server's, over all pages", (await rows())[0] === "/api/room/15");
check("a route with presence says how many are there", (await text("#resources ~ .scroll tbody td:nth-of-type(2)")).includes("3 present"), await text("#resources ~ .scroll tbody"));
await fill("#resources ~ .tools input", "no such resource");
await has("#resources ~ .scroll .none", "Nothing is found");
await fill("#resources ~ .tools input", "price 8");
await until("the search", async () => (await rows()).includes("/api/price/8"));

// The routes.
const routeRow = (path) => page.$$eval("#routes ~ .scroll tbody tr", (all, path) => (all.find((one) => one.innerText.startsWith(path)) || { innerText: "" }).innerText, path);
check("routes say why their requests passed through", /method/.test(await routeRow("/api/price/{id}")), await routeRow("/api/price/{id}"));
check("a route that is off in the file says so", (await routeRow("/legacy/{id}") || (await text("#routes ~ .pages"))).length > 0);
check("a route says that it has presence", (await routeRow("/api/room/{id}")).includes("presence"));
check("requests that no route covers are told apart", (await text(".stray")).includes("uncovered"));
await press("#routes ~ .pages", "Next");
await has("#routes ~ .pages", "Page 2 of 2");
check("routes have pages", (await routeRow("/more/3/{id}")) !== "");
await fill("#routes ~ .tools input", "off legacy");
await until("the search of routes", async () => (await routeRow("/legacy/{id}")).includes("off in the file"));
await fill("#routes ~ .tools input", "/api/score");
await until("one route", async () => (await page.$$("#routes ~ .scroll tbody tr")).length === 1 && (await routeRow("/api/score/{id}")) !== "");
const accessible = (await page.$$eval("#routes ~ .scroll tbody button", (all) => all.map((one) => one.textContent.trim()))).join();
check("the button to pause names its route", accessible.includes("Pause /api/score/{id}"), accessible);
await press("#routes ~ .scroll", "Pause");
await has("#routes ~ .scroll button", "Sure? Its streams end");
check("it asks first", !(await routeRow("/api/score/{id}")).includes("paused"));
await press("#routes ~ .scroll", "Sure?");
await has(".routes-off", "/api/score/{id} is paused");
await has(".said", "switched: 1");
await until("the row", async () => (await routeRow("/api/score/{id}")).includes("paused"));
await rules(page, "a paused route");
await whole("paused");
const passed = await fetch(`${site}/api/score/6`);
check("a paused route is a plain proxy", (passed.headers.get("cache-status") || "").includes("switched-off"), passed.headers.get("cache-status"));
await press(".routes-off", "Resume");
await until("the route is polled again", async () => (await page.$(".routes-off")) === null);
check("it is polled again", (await fetch(`${site}/api/score/6`)).headers.get("cache-status") !== passed.headers.get("cache-status"));

// The nodes that share the polls: one that dies, and an engine that does.
await has("#nodes ~ .upstreams", "elsewhere");
check("this node is told from the others", /here\s+this one/.test(await text("#nodes ~ .upstreams")), await text("#nodes ~ .upstreams"));
check("a node says how much it polls for all", /[1-9]\d* resources/.test(await text("#nodes ~ .upstreams")), await text("#nodes ~ .upstreams"));
await rules(page, "nodes");
other.kill("SIGKILL");
await until("the dead node is gone", async () => !(await text("#nodes ~ .upstreams")).includes("elsewhere"));
redis.kill("SIGKILL");
await has("#nodes ~ .upstreams", "The engine cannot be had");

// What becomes of a request.
await fill("#explain ~ .card input[name=target]", "/api/price/8");
await press("#explain ~ .card", "Explain");
await has("#explain ~ .card .outcome", "pollcast answers it");
check("an explanation says the steps", (await page.$$("#explain ~ .card .steps li")).length >= 3);
await page.select("#explain ~ .card select[name=method]", "POST");
await press("#explain ~ .card", "Explain");
await has("#explain ~ .card .outcome", "It passes through to the API");
check("its reason is explained in words", /method\s+It is neither GET nor HEAD/.test(await text("#explain ~ .card .outcome")), await text("#explain ~ .card .outcome"));
await page.select("#explain ~ .card select[name=method]", "GET");
await page.$eval("#explain ~ .card select[name=transport]", (one) => { one.selectedIndex = 1; });
await press("#explain ~ .card", "Explain");
await has("#explain ~ .card .outcome", "It becomes a stream");
await fill("#explain ~ .card input[name=target]", "not a path");
await press("#explain ~ .card", "Explain");
check("what is no request is said", Boolean(await page.waitForSelector("#explain ~ .card .wrong")));
await rules(page, "explained");

// One resource.
await theme(page, "dark");
await page.reload();
await page.waitForSelector(".plot canvas");
await rules(page, "dark");
await shot("dark");
await whole("dark-whole");
await fill("#resources ~ .tools input", "price 8");
await until("the search", async () => (await rows())[0] === "/api/price/8");
await page.focus("button.path");
await page.keyboard.press("Enter");
await page.waitForSelector("dialog[open]");
await has(".difference", "/value");
check("a change is told by member", (await text(".difference")).includes("/value"));
await press("dialog", "Poll now");
await has("dialog .said", "touched: 1");
await press("dialog", "Why is it so?");
await has("dialog .outcome", "It becomes a stream");
await rules(page, "opened");
await shot("opened");
await page.keyboard.press("Escape");
await until("the dialog is closed", async () => (await page.$("dialog[open]")) === null);
check("Escape closes it, and the focus is where it was", await page.evaluate(() => document.activeElement.classList.contains("path")));
await page.focus("button.path");
await page.keyboard.press("Enter");
await press("dialog", "Pause");
await press("dialog", "Sure?");
await has("dialog .paused", "is paused");
await press("dialog .paused", "Resume");
await until("the route is polled again", async () => (await page.$("dialog .paused")) === null);
await page.keyboard.press("Escape");

// Keys alone: the first stop leads past the head.
await page.reload();
await page.waitForSelector("#resources ~ .scroll tbody tr");
await page.keyboard.press("Tab");
check("the first stop of the keyboard skips the head", await page.evaluate(() => document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().left >= 0));

// A phone, in both colours.
await page.setViewport(PHONE);
for (const color of ["light", "dark"]) {
  await theme(page, color);
  await page.reload();
  await page.waitForSelector(".plot canvas");
  await page.waitForSelector("#routes ~ .scroll tbody tr");
  await fitsThePhone(page, color);
  await rules(page, `phone, ${color}`);
  await shot(`phone-${color}`);
}
await page.$eval("#resources", (one) => one.scrollIntoView());
await shot("phone-resources");
await page.$eval("#routes", (one) => one.scrollIntoView());
await shot("phone-routes");
await page.$eval("#explain", (one) => one.scrollIntoView());
await page.type("#explain ~ .card input[name=target]", "/api/price/8");
await page.tap("#explain ~ .card form button");
await page.waitForSelector(".outcome");
await fitsThePhone(page, "explained");
await shot("phone-explained");
await page.$eval("button.path", (one) => one.scrollIntoView({ block: "center" }));
await page.tap("button.path");
await page.waitForSelector("dialog[open] .facts");
await fitsThePhone(page, "opened");
await rules(page, "phone, opened");
await shot("phone-opened");
await page.tap("dialog .row button");
await until("the dialog is closed", async () => (await page.$("dialog[open]")) === null);

// What operators do to clients, and to the process.
await page.setViewport({ width: 1360, height: 1340 });
await page.reload();
await page.waitForSelector("#operate ~ .card input");
await page.type("#operate ~ .card input", "a-client-that-is-not-there");
await press("#operate ~ .card", "End its streams");
await has(".said", "ended: 0");
await press("#operate ~ .card", "Drain this process");
await has("#operate ~ .card button", "Drain and end it?");
await press("#operate ~ .card", "Drain and end it?");
await has(".connection", "draining");
check("the page says that the process drains", true);
check("nothing went wrong in the page", wrong.length === 0, wrong.join("\n"));
await browser.close();
process.exit(exitCode());
