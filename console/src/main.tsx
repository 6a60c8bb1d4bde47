import { render } from "preact";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/shell.css";
import { start } from "./api/boot";
import { changed } from "./api/queries";
import { App } from "./app";
import * as events from "./lib/events";
import * as keys from "./lib/keys";
import { messageOf } from "./lib/words";
import { openLink } from "./ui/signin";

const AGAIN_MS = 3_000;

async function main(): Promise<void> {
  const root = document.getElementById("app")!;
  const said = await openLink();
  render(<App said={said} />, root);
  keys.begin();
  for (;;) {
    try {
      await start();
      break;
    } catch (error) {
      root.dataset["trouble"] = messageOf(error);
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
  delete root.dataset["trouble"];
  events.begin();
  // Something was missed: what is on the screen is fetched again, and nothing else.
  events.onEvent((name) => {
    if (name === "reset") changed("");
  });
}

void main();
