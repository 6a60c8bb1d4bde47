/** This job without this page: each request that the other views make, to be copied. */

import { address } from "../../api/client";
import type { Job } from "../../api/types";
import { cli, cliServer, curl, type Call } from "../../lib/curl";
import { usePlace } from "../../lib/query";
import { Languages, type Language } from "../../ui/languages";
import { CopyButton, Panel } from "../../ui/parts";
import { Code } from "../../ui/scroll";
import { calls, python } from "./commands";

export function Commands({ job, run }: { job: Job; run: string }) {
  const [place, change] = usePlace();
  const lang: Language = place["lang"] === "python" || place["lang"] === "cli" ? place["lang"] : "curl";
  const isPython = lang === "python";
  const base = new URL(address(""), window.location.href).toString();
  const told = (call: Call): string => (lang === "cli" ? cli(call) : curl(base, call));
  const all = calls({ job: job.id, run, place });
  return (
    <div class="stack setup">
      <p class="quiet">
        Every view here is made of these requests. They take an API key from the variable <code>SIMYARD_API_KEY</code>:
        make one in the settings, then <code>export SIMYARD_API_KEY=…</code>.
      </p>
      <Languages
        chosen={lang}
        all={["curl", "cli", "python"]}
        choose={(next) => change({ lang: next === "curl" ? "" : next })}
      />
      {lang === "cli" ? (
        <Panel title="The server" tools={<CopyButton text={cliServer(base)} />}>
          <Code label="The server">{cliServer(base)}</Code>
        </Panel>
      ) : null}
      {all.map((group) => (
        <Panel
          key={group.view}
          title={group.view}
          {...(isPython ? { tools: <CopyButton text={python(base, group.calls)} /> } : {})}
        >
          {isPython ? (
            <Code label="In Python">{python(base, group.calls)}</Code>
          ) : (
            <div class="stack">
              {group.calls.map((call) => (
                <div key={call.title} class="stack-small">
                  <div class="row spread">
                    <h3>{call.title}</h3>
                    <CopyButton text={told(call)} />
                  </div>
                  <Code label={lang === "cli" ? "With the command" : "With curl"}>{told(call)}</Code>
                </div>
              ))}
            </div>
          )}
        </Panel>
      ))}
    </div>
  );
}
