// People use the chat's page, each in a tab: `node chat.mjs ADDRESS`. What the tabs show is judged
// here; each step after which both showed what they must is told, and the extensions agreed on.

import { isDeepStrictEqual } from "node:util";
import { PATIENCE, openTab, withBrowser } from "./browser.mjs";
import { address, tell } from "./telling.mjs";

// Long enough to be compressed, and nothing that HTML would leave as it is.
const LONG = "<b>so</b> & ".repeat(100) + "on";
const POLL = 50;

class Person {
  constructor(name, tab) {
    Object.assign(this, { name, tab, extension: undefined });
  }

  static async arrive(name, context, complaints) {
    const tab = await openTab(context, `http://${address}/`, complaints);
    const person = new Person(name, tab);
    const devtools = await context.newCDPSession(tab);
    devtools.on("Network.webSocketHandshakeResponseReceived", ({ response }) => {
      person.extension = response.headers["Sec-WebSocket-Extensions"] ?? null;
    });
    await devtools.send("Network.enable");
    return person;
  }

  async enter() {
    await this.tab.fill("#name", this.name);
    await this.tab.click("#door button");
  }

  async join(room) {
    await this.tab.fill("#room", room);
    await this.tab.press("#room", "Enter");
  }

  async say(words) {
    await this.tab.fill("#text", words);
    await this.tab.click("#say button");
  }

  /** Clicks what bears that name in one of the lists: `rooms`, `people`, `members`. */
  async choose(list, name) {
    await this.tab.locator(`#${list} button`).filter({ hasText: name }).click();
  }

  /** Waits until the page shows just that. */
  async sees(expected) {
    const deadline = performance.now() + PATIENCE;
    let shown;
    do {
      shown = await this.tab.evaluate(look);
      if (isDeepStrictEqual(shown, expected)) return;
      await this.tab.waitForTimeout(POLL);
    } while (performance.now() < deadline);
    const [wanted, found] = [expected, shown].map((what) => JSON.stringify(what, null, 1));
    throw new Error(`${this.name} must see ${wanted}, and sees ${found}`);
  }
}

/** Runs on the page: what somebody sees of it. */
function look() {
  const texts = (within, selector) =>
    Array.from(within.querySelectorAll(selector), (found) => found.textContent);
  const list = (id) =>
    Array.from(document.querySelectorAll(`#${id} li`), (item) => texts(item, ".name, .unread").join(" "));
  const line = (shown) => (shown.matches(".notice") ? [shown.textContent] : texts(shown, ".who, p")).join(": ");
  return {
    where: document.getElementById("where").textContent,
    count: document.getElementById("count").textContent,
    members: list("members"),
    rooms: list("rooms"),
    people: list("people"),
    talk: Array.from(document.getElementById("talk").children, line),
  };
}

/** What is seen in a room by one who has written to nobody privately. */
function inRoom(where, rooms, members, talk) {
  const count = `${members.length} member${members.length === 1 ? "" : "s"}`;
  return { where, count, members, rooms, people: [], talk };
}

await withBrowser(async (browser) => {
  const complaints = [];
  const context = await browser.newContext();
  const ann = await Person.arrive("Ann", context, complaints);
  const bob = await Person.arrive("Bob", context, complaints);
  const [both, bothToBob] = [["Ann (you)", "Bob"], ["Ann", "Bob (you)"]];

  await ann.enter();
  await ann.sees(inRoom("#general", ["# general"], ["Ann (you)"], ["Ann joined"]));
  await bob.enter();
  const [general, generalToBob] = [["Ann joined", "Bob joined"], ["Bob joined"]];
  await ann.sees(inRoom("#general", ["# general"], both, general));
  await bob.sees(inRoom("#general", ["# general"], bothToBob, generalToBob));
  tell("extension", [ann.extension, bob.extension]);
  tell("enter", "shown");

  await ann.say("hello Bob");
  await ann.sees(inRoom("#general", ["# general"], both, [...general, "Ann: hello Bob"]));
  await bob.sees(inRoom("#general", ["# general"], bothToBob, [...generalToBob, "Ann: hello Bob"]));
  await bob.say(LONG);
  const talk = ["Ann: hello Bob", `Bob: ${LONG}`];
  await ann.sees(inRoom("#general", ["# general"], both, [...general, ...talk]));
  await bob.sees(inRoom("#general", ["# general"], bothToBob, [...generalToBob, ...talk]));
  tell("talk", "shown");

  const rooms = ["# general", "# kitchen"];
  await ann.join("kitchen");
  await ann.sees(inRoom("#kitchen", rooms, ["Ann (you)"], ["Ann joined"]));
  await bob.join("#kitchen");
  await ann.sees(inRoom("#kitchen", rooms, both, ["Ann joined", "Bob joined"]));
  await bob.sees(inRoom("#kitchen", rooms, bothToBob, ["Bob joined"]));
  tell("join", "shown");

  await bob.choose("members", "Ann");
  await bob.say("psst");
  const privately = { count: "private", rooms, talk: ["Bob: psst"] };
  await bob.sees({ ...privately, where: "@Ann", members: ["Bob (you)", "Ann"], people: ["Ann"] });
  const unread = inRoom("#kitchen", rooms, ["Ann (you)", "Bob 1"], ["Ann joined", "Bob joined"]);
  await ann.sees({ ...unread, people: ["Bob 1"] });
  await ann.choose("people", "Bob");
  await ann.sees({ ...privately, where: "@Bob", members: both, people: ["Bob"] });
  tell("private message", "shown");

  await bob.choose("rooms", "kitchen");
  await ann.choose("rooms", "kitchen");
  await ann.tab.click("#leave");
  const generally = inRoom("#general", ["# general"], both, [...general, ...talk]);
  await ann.sees({ ...generally, people: ["Bob"] });
  const left = inRoom("#kitchen", rooms, ["Bob (you)"], ["Bob joined", "Ann left"]);
  await bob.sees({ ...left, people: ["Ann"] });
  tell("leave", "shown");

  await bob.choose("rooms", "general");
  await ann.tab.close();
  const alone = inRoom("#general", rooms, ["Bob (you)"], [...generalToBob, ...talk, "Ann left"]);
  await bob.sees({ ...alone, people: ["Ann"] });
  tell("close the tab", "shown");

  const cay = await Person.arrive("Cay", context, complaints);
  await cay.enter();
  const withCay = ["Bob", "Cay (you)"];
  await cay.sees(inRoom("#general", ["# general"], withCay, [...talk, "Cay joined"]));
  await cay.tab.reload();
  await cay.sees(inRoom("#general", ["# general"], withCay, [...talk, "Cay joined"]));
  tell("history", "shown");

  const dan = await Person.arrive("Bob", context, complaints);
  await dan.enter();
  await dan.tab.locator("#complaint").filter({ hasText: "there is another Bob here" }).waitFor();
  tell("a name that is taken", "shown");
  tell("complaints", complaints);
});
