/** Dialogs: the browser's own, which keep the focus inside and give it back. */

import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { messageOf } from "../lib/words";
import { Banner, Button } from "./parts";

type Props = {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
  actions?: ComponentChildren;
  isWide?: boolean;
  isFirm?: boolean; // Escape does not close it
};

export function Dialog({ title, onClose, children, actions, isWide, isFirm }: Props) {
  const box = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useLayoutEffect(() => {
    const dialog = box.current!;
    if (!dialog.open) dialog.showModal();
    return () => dialog.close();
  }, []);
  return (
    <dialog
      ref={box}
      class={isWide ? "wide" : ""}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        if (!isFirm) onClose();
      }}
      onKeyDown={(event) => event.stopPropagation()}
    >
      <div class="dialog-body">
        <h2 id={heading}>{title}</h2>
        {children}
        {actions ? <div class="dialog-actions">{actions}</div> : null}
      </div>
    </dialog>
  );
}

type ConfirmProps = {
  title: string; // names the thing: "Stop airfoil-07?"
  children: ComponentChildren;
  verb: string; // "Stop the job"
  isDanger?: boolean;
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
};

/** Asks once. The focus is on the safe button; what fails is said here, and nothing is lost. */
export function Confirm({ title, children, verb, isDanger, onConfirm, onClose }: ConfirmProps) {
  const [isBusy, busy] = useState(false);
  const [error, fail] = useState("");
  return (
    <Dialog
      title={title}
      onClose={onClose}
      actions={
        <>
          {/* oxlint-disable-next-line jsx-a11y/no-autofocus -- a dialog puts the focus on what is safe */}
          <Button onClick={onClose} autofocus>
            Cancel
          </Button>
          <Button
            kind={isDanger ? "danger" : "primary"}
            disabled={isBusy}
            onClick={async () => {
              busy(true);
              fail("");
              try {
                await onConfirm();
                onClose();
              } catch (problem) {
                fail(messageOf(problem));
                busy(false);
              }
            }}
          >
            {verb}
          </Button>
        </>
      }
    >
      {children}
      {error ? <Banner tone="bad">{error}</Banner> : null}
    </Dialog>
  );
}
