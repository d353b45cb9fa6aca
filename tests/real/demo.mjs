// The demo's page, and presence as a page reads it, in headless Chromium.
//
// `tests/real/run` installs what is needed and starts this file: demo.mjs BINARY FOLDER
// Prints a line for each check; the screenshots are FOLDER/demo-*.png.
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PHONE, answers, check, exitCode, fitsThePhone, launch, open, port, theme, until } from "./browser.mjs";

const [binary, home] = process.argv.slice(2);
const children = [];
const start = (...options) => children.push(spawn(binary, options, { stdio: "ignore" }));
process.on("exit", () => children.forEach((child) => child.kill()));
const { browser, rules } = await launch(home);

async function demo() {
  const [listen, admin] = [await port(), await port()];
  const origin = `http://127.0.0.1:${listen}`;
  start("demo", "--listen", `127.0.0.1:${listen}`, "--admin", `127.0.0.1:${admin}`);
  await answers(`http://127.0.0.1:${admin}/ready`);
  const { page, wrong } = await open(browser, origin);
  await page.setViewport({ width: 1360, height: 1340 });
  await theme(page, "light");
  await page.goto(`${origin}/`);
  const cards = () => page.$$eval("#cards > *", (all) => all.map((one) => one.innerText));
  const shown = await until("all techniques show a bid", async () => {
    const all = await cards();
    return all.length >= 4 && all.every((one) => /\d+\s*ms|\d+(\.\d+)?\s*s/.test(one)) ? all : null;
  });
  check("the demo shows every technique with its delay", shown.length >= 4, shown.join("\n"));
  await page.type("#chat-text", "a word from a browser");
  await page.keyboard.press("Enter");
  await until("the message", () => page.$$eval("#chat-list li", (all) => all.some((one) => one.innerText.includes("a word from a browser"))));
  check("a message that is sent comes back by the stream", true);
  await page.click("[data-add='100']");
  await until("the crowd", () => page.$eval("#load-crowd", (one) => Number(one.textContent.replace(/\D/g, "")) === 100));
  check("a crowd of 100 comes", true);
  for (const color of ["light", "dark"]) {
    await theme(page, color);
    await rules(page, `demo, ${color}`);
    await page.screenshot({ path: join(home, `demo-${color}.png`) });
  }
  await page.setViewport(PHONE);
  await page.reload();
  await until("the page", async () => (await cards()).length >= 4);
  await page.evaluate(() => scrollTo(0, 0));
  await fitsThePhone(page, "demo");
  await rules(page, "demo, phone");
  await page.screenshot({ path: join(home, "demo-phone.png") });
  check("nothing went wrong in the demo", wrong.length === 0, wrong.join("\n"));
  await page.close();
}

async function presence() {
  const [api, listen, admin] = [await port(), await port(), await port()];
  const origin = `http://127.0.0.1:${listen}`;
  createServer((_, response) => { response.setHeader("content-type", "application/json"); response.end('{"topic":"tea"}'); }).listen(api, "127.0.0.1");
  writeFileSync(join(home, "presence.yaml"), `
listeners: [{ address: "127.0.0.1:${listen}" }]
admin: { address: "127.0.0.1:${admin}" }
log: { access: false }
upstreams: { api: { servers: ["127.0.0.1:${api}"] } }
routes: [{ path: "/room/{id}", upstream: api, share: public, poll: { interval: 1s }, presence: { interval: 100ms } }]
`);
  start("run", "--config", join(home, "presence.yaml"));
  await answers(`http://127.0.0.1:${admin}/ready`);
  const enter = async () => {
    const { page } = await open(browser, origin);
    await page.goto(`${origin}/room/1`);
    await page.evaluate(() => {
      window.counts = [];
      window.source = new EventSource("/room/1?_presence=on");
      window.source.addEventListener("presence", (event) => window.counts.push(JSON.parse(event.data).count));
    });
    return page;
  };
  const first = await enter();
  const sees = (page, count) => until(`a count of ${count}`, () => page.evaluate((count) => window.counts.at(-1) === count, count));
  await sees(first, 1);
  const second = await enter();
  await sees(first, 2);
  await sees(second, 2);
  const asked = await first.evaluate(() => fetch("/-/pollcast/presence?resource=/room/1").then((answer) => answer.json()));
  check("a page asks who is there", asked.count === 2, JSON.stringify(asked));
  await second.close();
  await sees(first, 1);
  check("a page is told who comes and goes", true);
  await first.close();
}

await demo();
await presence();
await browser.close();
process.exit(exitCode());
