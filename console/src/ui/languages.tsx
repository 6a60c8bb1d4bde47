/** In what somebody wants the calls that he is shown. */

export type Language = "curl" | "cli" | "python";

const LABELS: Record<Language, string> = { curl: "curl", cli: "CLI", python: "Python" };

type LanguagesProps = { chosen: Language; all: readonly Language[]; choose: (language: Language) => void };

export function Languages({ chosen, all, choose }: LanguagesProps) {
  return (
    <div class="row" role="group" aria-label="Language">
      {all.map((each) => (
        <button
          key={each}
          type="button"
          class="chip"
          aria-pressed={chosen === each ? "true" : "false"}
          onClick={() => choose(each)}
        >
          {LABELS[each]}
        </button>
      ))}
    </div>
  );
}
