// Which model serves is changed only after it was asked twice.

import { byId, write } from "./dom.js";
import { send } from "./fetching.js";
import { tell } from "./told.js";

// Gives a function that asks and then does; `done` is called afterwards.
export function confirming(kind, done) {
  return async (model, before = null) => {
    const dialog = byId("confirm");
    const back = kind === "rollback";
    write("confirm-title", back ? `Take ${before} back?` : `Promote ${model}?`);
    write("confirm-text", back
      ? `${model} decides again, for all payments, within seconds.`
      : `${model} decides from then on, for all payments, within seconds. It can be taken back.`);
    write("confirm-do", back ? "Roll back" : "Promote");
    byId("confirm-reason").value = "";
    dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => {
      dialog.addEventListener("close", resolve, { once: true });
    });
    if (dialog.returnValue !== "done") return;
    const reason = byId("confirm-reason").value.trim();
    try {
      const now = await send("POST", back ? "/v1/promotions/rollback" : `/v1/models/${encodeURIComponent(model)}/promote`, { reason });
      tell(`${now.model} serves now, in place of ${now.before}.`);
    } catch (error) {
      tell(`Not done: ${error.message}`);
    }
    done();
  };
}

byId("confirm-cancel").addEventListener("click", () => byId("confirm").close());
