// Somebody looks after the chat from its admin page: `node admin.mjs ADDRESS TOKEN PICTURES`. What the page shows is
// judged here; each step after which it showed what it must is told. Pictures of it are left in the folder.

import { join } from "node:path";
import { openTab, withBrowser } from "./browser.mjs";
import { address, tell } from "./telling.mjs";

const [, token, pictures] = process.argv.slice(2);
const PHONE = { width: 390, height: 844 };
const TALK = [
  [(ann) => ann, "The new build is out: ten thousand at once, and nobody noticed."],
  [(_, bob) => bob, "I did. My battery did."],
  [(ann) => ann, "Tea at four?"],
  [(_, bob) => bob, "In the kitchen. I bring the <b>good</b> biscuits."],
];

const row = (tab, table, text) => tab.locator(`#${table} tbody tr`).filter({ hasText: text });
const tile = (tab, name) => tab.locator(`.tile[data-name="${name}"] b`);
const reads = (locator, text) => locator.filter({ hasText: text }).waitFor();

/** Presses a button that asks whether one is sure, and says yes. */
async function press(tab, button) {
  await button.click();
  await tab.click("#sure-yes");
}

/** No part of the page is wider than what it is seen on. */
async function assertFits(tab) {
  const [wide, seen] = await tab.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  if (wide > seen) throw new Error(`the page is ${wide} wide on a screen of ${seen}`);
}

async function logIn(tab, shown) {
  await tab.fill("#token", shown);
  await tab.click("#login button");
}

await withBrowser(async (browser) => {
  const complaints = [];
  const people = await browser.newContext();
  const [ann, bob] = await Promise.all(["Ann", "Bob"].map(async (name) => {
    const tab = await openTab(people, `http://${address}/?name=${name}`, complaints);
    await reads(tab.locator("#where"), "#general");
    return tab;
  }));
  await ann.fill("#room", "kitchen");
  await ann.press("#room", "Enter");
  await reads(ann.locator("#where"), "#kitchen");

  const context = await browser.newContext({ viewport: { width: 1280, height: 1500 } });
  const tab = await openTab(context, `http://${address}/admin`, complaints);
  await logIn(tab, "not the token at all");
  await reads(tab.locator("#login-error"), "the token is not known");
  tell("wrong token", "shown");

  await logIn(tab, token);
  await reads(tab.locator("#state.live"), "live");
  await reads(tile(tab, "connections"), /^2$/);
  await reads(tile(tab, "users"), /^2$/);
  await reads(tile(tab, "rooms"), /^2$/);
  await reads(tile(tab, "memberships"), /^3$/);
  await reads(row(tab, "connections", "Ann"), "127.0.0.1");
  await reads(row(tab, "connections", "Bob"), "127.0.0.1");
  await reads(row(tab, "rooms", "general"), "sequenced");
  await reads(row(tab, "shards", "%").first(), "%");
  await tab.locator(".plot path[d]").first().waitFor({ state: "attached" });
  tell("numbers", "shown");

  await tab.reload();
  await reads(tab.locator("#state.live"), "live");
  // Some seconds of talk, for the plots.
  await ann.locator("#rooms button").filter({ hasText: "general" }).click();
  for (const [person, words] of TALK) {
    await person(ann, bob).fill("#text", words);
    await person(ann, bob).click("#say button");
    await reads(bob.locator("#talk"), words);
    await bob.waitForTimeout(1000);
  }
  await bob.screenshot({ path: join(pictures, "chat.png") });
  await tab.screenshot({ path: join(pictures, "admin.png") });
  await tab.emulateMedia({ colorScheme: "dark" });
  await tab.screenshot({ path: join(pictures, "admin-dark.png") });
  await assertFits(tab);
  await tab.setViewportSize(PHONE);
  await assertFits(tab);
  await tab.screenshot({ path: join(pictures, "admin-phone.png") });
  await tab.setViewportSize({ width: 1280, height: 1500 });
  tell("desktop, phone and dark", "shown");

  await tab.fill("#sought", "Bob");
  await tab.press("#sought", "Enter");
  await row(tab, "connections", "Ann").waitFor({ state: "detached" });
  await reads(row(tab, "connections", "Bob"), "127.0.0.1");
  await tab.fill("#sought", "");
  await tab.press("#sought", "Enter");
  await row(tab, "connections", "Ann").waitFor();
  tell("search", "shown");

  await press(tab, row(tab, "rooms", "kitchen").locator("button"));
  await row(tab, "rooms", "kitchen").waitFor({ state: "detached" });
  await reads(ann.locator("#where"), "#general");
  await reads(ann.locator("#talk"), "#kitchen was closed");
  tell("close a room", "shown");

  const before = await row(tab, "connections", "Ann").locator("code").textContent();
  await press(tab, row(tab, "connections", "Ann").locator("button"));
  // Her page comes back by itself, with a connection of another name.
  const again = row(tab, "connections", "Ann").filter({ hasNotText: before });
  for (let attempt = 0; attempt < 200 && (await again.count()) === 0; attempt += 1) {
    await tab.press("#sought", "Enter");
    await tab.waitForTimeout(100);
  }
  await again.waitFor();
  tell("close a connection", "shown");

  await tab.click("#leave");
  await tab.locator("#token").waitFor();
  await logIn(tab, token);
  await reads(tab.locator("#state.live"), "live");
  tell("log out", "shown");
  tell("complaints", complaints);

  await tab.click("#drain");
  await tab.fill("#drain-window", "0");
  await tab.click("#sure-yes");
  // With the engine goes what serves the page.
  await reads(tab.locator("#state.lost"), "not connected");
  tell("drain", "shown");
});
