/** This job without this page: each request that the other views make, to be copied. */

import { address } from "../../api/client";
import type { Job } from "../../api/types";
import { curl } from "../../lib/curl";
import { usePlace } from "../../lib/query";
import { CopyButton, Panel } from "../../ui/parts";
import { Code } from "../../ui/scroll";
import { calls, python } from "./commands";

export function Commands({ job, run }: { job: Job; run: string }) {
  const [place, change] = usePlace();
  const isPython = place["lang"] === "python";
  const base = new URL(address(""), window.location.href).toString();
  const all = calls({ job: job.id, run, path: place["path"] ?? "", q: place["q"] ?? "" });
  return (
    <div class="stack setup">
      <p class="quiet">
        Every view here is made of these requests. They take an API key from the variable <code>SIMYARD_API_KEY</code>:
        make one in the settings, then <code>export SIMYARD_API_KEY=…</code>. The <code>simyard</code> command manages
        the server only.
      </p>
      <div class="row" role="group" aria-label="Language">
        {[
          { name: "", label: "curl" },
          { name: "python", label: "Python" },
        ].map((each) => (
          <button
            key={each.label}
            type="button"
            class="chip"
            aria-pressed={(place["lang"] ?? "") === each.name ? "true" : "false"}
            onClick={() => change({ lang: each.name })}
          >
            {each.label}
          </button>
        ))}
      </div>
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
                    <CopyButton text={curl(base, call)} />
                  </div>
                  <Code label="With curl">{curl(base, call)}</Code>
                </div>
              ))}
            </div>
          )}
        </Panel>
      ))}
    </div>
  );
}
