/** Which keys there are here, and their switch. */

import { active, isOn, turn } from "../lib/keys";
import { Dialog } from "./dialog";
import { Button } from "./parts";
import { isHelpOpen } from "./palette";

export function Help() {
  if (!isHelpOpen.value) return null;
  const groups = new Map<string, { keys: string; label: string }[]>();
  for (const key of active.value) {
    const group = key.group ?? "Everywhere";
    groups.set(group, [...(groups.get(group) ?? []).filter((each) => each.label !== key.label), key]);
  }
  const close = (): void => {
    isHelpOpen.value = false;
  };
  return (
    <Dialog title="Keys" onClose={close} actions={<Button onClick={close}>Close</Button>}>
      {[...groups].map(([group, keys]) => (
        <section key={group}>
          <h3>{group}</h3>
          <dl class="facts">
            {keys.map((key) => [
              <dt key={`${key.label}-key`}>
                {key.keys.split(" ").map((each) => (
                  <kbd key={each}>{each}</kbd>
                ))}
              </dt>,
              <dd key={key.label}>{key.label}</dd>,
            ])}
          </dl>
        </section>
      ))}
      <label class="row">
        <input type="checkbox" checked={isOn.value} onChange={(event) => turn(event.currentTarget.checked)} />
        Single letters are keys
      </label>
    </Dialog>
  );
}
