// The dashboard in headless Chromium: axe-core's rules, the keyboard, and screenshots to look at.
//
// `tests/real/run` installs what is needed and starts this file: dashboard.mjs BINARY FOLDER
// Prints a line for each check; the screenshots are FOLDER/dashboard-{light,dark,phone,opened}.png.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import net from "node:net";

const [binary, home] = process.argv.slice(2);
const require = createRequire(join(home, "node_modules", "x.js"));
const puppeteer = require("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const TOKEN = "a-token-of-the-admin-listener";
const RESOURCES = 120;
let failed = 0;
const check = (name, ok, detail = "") => { failed += ok ? 0 : 1; console.log(`${ok ? "ok    " : "FAILED"} ${name} ${ok ? "" : detail}`); };
const port = () => new Promise((done) => { const server = net.createServer().listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => done(port)); }); });
const until = async (name, is) => { const end = Date.now() + 30000; while (!(await is())) { if (Date.now() > end) throw new Error(`waited for ${name}`); await new Promise((done) => setTimeout(done, 200)); } };

const [api, open, admin] = [await port(), await port(), await port()];
let ticks = 0;
setInterval(() => { ticks += 1; }, 700);
const names = ["price", "stock", "orders", "weather", "chat", "build", "score", "room"];
createServer((request, response) => {
  const number = Number(request.url.split("/").pop()) || 0;
  if (number === 7) { response.writeHead(500).end(); return; }
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ id: number, value: Math.floor(ticks / (1 + number % 9)), note: "x".repeat(20 * (number % 40)) }));
}).listen(api, "127.0.0.1");
writeFileSync(join(home, "dashboard.yaml"), `
listeners: [{ address: "127.0.0.1:${open}" }]
admin: { address: "127.0.0.1:${admin}", token: ${TOKEN} }
log: { access: false }
upstreams:
  shop: { servers: ["127.0.0.1:${api}"], budget: { rate: 200/s } }
  weather-station: { servers: ["127.0.0.1:${api}"] }
routes:
${names.map((name, at) => `  - { path: "/api/${name}/{id}", upstream: ${at % 3 ? "shop" : "weather-station"}, share: public, poll: { interval: ${1 + at % 3}s } }`).join("\n")}
`);
const pollcast = spawn(binary, ["run", "--config", join(home, "dashboard.yaml")], { stdio: "ignore" });
process.on("exit", () => pollcast.kill());
await until("pollcast", () => fetch(`http://127.0.0.1:${admin}/ready`).then((answer) => answer.ok).catch(() => false));
const drain = async (path) => { const answer = await fetch(`http://127.0.0.1:${open}${path}`, { headers: { accept: "text/event-stream" } }); for await (const _ of answer.body); };
for (let at = 0; at < RESOURCES; at += 1) {
  for (let one = 0; one <= 40 / (1 + at); one += 1) drain(`/api/${names[at % names.length]}/${at}`).catch(() => {});
}

const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const page = await browser.newPage();
const wrong = [];
page.on("pageerror", (error) => wrong.push(String(error)));
page.on("console", (line) => { if (line.type() === "error" && !line.text().includes("401")) wrong.push(line.text()); });
page.on("request", (request) => { if (!request.url().startsWith(`http://127.0.0.1:${admin}/`) && !request.url().startsWith("data:")) wrong.push(`asks for ${request.url()}`); });
await page.setViewport({ width: 1360, height: 1340 });
await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
await page.goto(`http://127.0.0.1:${admin}/`);
const rules = async (name) => {
  const session = await page.createCDPSession();
  await session.send("Page.setBypassCSP", { enabled: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"] }));
  const said = found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 120)).join(" | ")}`);
  check(`axe-core finds nothing: ${name}`, said.length === 0, "\n  " + said.join("\n  "));
};
await page.waitForSelector(".ask input");
await rules("token");
await page.type(".ask input", TOKEN);
await page.keyboard.press("Enter");
await page.waitForSelector("tbody tr");
await page.waitForSelector(".plot canvas", { timeout: 30000 });
// A few samples make a line.
await new Promise((done) => setTimeout(done, Number(process.env.SAMPLES_S || 25) * 1000));
await rules("light");
await page.screenshot({ path: join(home, "dashboard-light.png") });
await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
await page.reload();
await page.waitForSelector(".plot canvas");
await rules("dark");
await page.screenshot({ path: join(home, "dashboard-dark.png") });
await page.type(".search input", "price 8");
await until("the search", () => page.$eval(".tools p", (one) => one.textContent.includes(" of ")));
check("the search is the server's", (await page.$$eval("tbody tr", (rows) => rows.length)) < 25);
await page.focus("button.path");
await page.keyboard.press("Enter");
await page.waitForSelector("dialog[open]");
await until("a change", () => page.$(".changes li"));
check("a change is told by member", (await page.$eval(".difference", (one) => one.textContent)).includes("/value"));
await rules("opened");
await page.screenshot({ path: join(home, "dashboard-opened.png") });
await page.keyboard.press("Escape");
check("Escape closes it", (await page.$("dialog[open]")) === null);
await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
await page.setViewport({ width: 390, height: 844, isMobile: true, deviceScaleFactor: 2 });
await page.reload();
await page.waitForSelector(".plot canvas");
check("a phone scrolls in one direction", await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth + 1));
await rules("phone");
await page.screenshot({ path: join(home, "dashboard-phone.png") });
check("nothing went wrong in the page", wrong.length === 0, wrong.join("\n"));
await browser.close();
process.exit(failed ? 1 : 0);
