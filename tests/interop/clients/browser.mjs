// A Chromium without a window, and pages whose complaints are kept.

import { chromium } from "playwright-core";

/** How long anything on a page may take before it is given up: for a machine under heavy load. */
export const PATIENCE = 60_000;

/** Runs `work` with a browser, which is the one that the variable CHROMIUM names. */
export async function withBrowser(work) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    // Root has no sandbox.
    chromiumSandbox: process.getuid() !== 0,
  });
  try {
    await work(browser);
  } finally {
    await browser.close();
  }
}

/** A tab that shows the page at `url`; what goes wrong on it is added to `complaints`. */
export async function openTab(context, url, complaints) {
  const tab = await context.newPage();
  tab.setDefaultTimeout(PATIENCE);
  tab.on("pageerror", (error) => complaints.push(String(error)));
  tab.on("crash", () => complaints.push("the tab crashed"));
  tab.on("console", (line) => {
    if (["error", "warning"].includes(line.type())) complaints.push(line.text());
  });
  await tab.goto(url);
  return tab;
}
