// What the scripts of pages share: headless Chromium, axe-core's rules, checks that print a line each.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import net from "node:net";

const WAIT_MS = 30000;
let failed = 0;

export function check(name, ok, detail = "") {
  failed += ok ? 0 : 1;
  console.log(`${ok ? "ok    " : "FAILED"} ${name} ${ok ? "" : detail}`);
}

export const exitCode = () => (failed ? 1 : 0);

export const port = () => new Promise((done) => {
  const server = net.createServer().listen(0, "127.0.0.1", () => { const { port } = server.address(); server.close(() => done(port)); });
});

// Waits until `is` says something true, and returns it.
export async function until(name, is) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    const value = await is();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited for ${name}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

export const answers = (url) => until(url, () => fetch(url).then((answer) => answer.ok).catch(() => false));

// A browser with the modules that `tests/real/run` installed into `home`.
export async function launch(home) {
  const require = createRequire(join(home, "node_modules", "x.js"));
  const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
  const browser = await require("puppeteer-core").launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
  return { browser, rules: (page, name) => rules(page, axe, name) };
}

async function rules(page, axe, name) {
  const session = await page.createCDPSession();
  await session.send("Page.setBypassCSP", { enabled: true });
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const said = found.violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
  check(`axe-core finds nothing: ${name}`, said.length === 0, "\n  " + said.join("\n  "));
}

// A page that notes what goes wrong in it, and what it asks of other places than `origin`.
export async function open(browser, origin) {
  const page = await browser.newPage();
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("console", (line) => { if (line.type() === "error" && !/status of 40[01]/.test(line.text())) wrong.push(line.text()); });
  page.on("request", (request) => { if (!request.url().startsWith(`${origin}/`) && !request.url().startsWith("data:")) wrong.push(`asks for ${request.url()}`); });
  return { page, wrong };
}

// A colour scheme, without transitions on the way to it.
export const theme = (page, value) => page.emulateMediaFeatures([
  { name: "prefers-color-scheme", value }, { name: "prefers-reduced-motion", value: "reduce" },
]);

export const PHONE = { width: 390, height: 844, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

export async function fitsThePhone(page, name) {
  const wide = await page.evaluate(() => {
    const isIn = (one) => { for (let up = one.parentElement; up; up = up.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(up).overflowX)) return true; return false; };
    const all = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !isIn(one));
    return all.slice(0, 3).map((one) => one.outerHTML.slice(0, 120));
  });
  check(`a phone scrolls in one direction: ${name}`, await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth + 1) && !wide.length, wide.join("\n"));
}
