// Who is signed in, and what changes must be sent with.

let token = null;

// The headers of a request that changes something. Without a session (a demo) there is no token.
export async function changing() {
  if (token === null) {
    const answer = await fetch("/v1/session", { headers: { Accept: "application/json" } });
    if (answer.status === 401) signIn();
    if (answer.ok) token = (await answer.json()).csrf_token ?? "";
  }
  return { "Content-Type": "application/json", ...(token ? { "X-CSRF-Token": token } : {}) };
}

// To the login, and back to here afterwards.
export function signIn() {
  const here = location.pathname + location.search;
  location.assign(`/login?next=${encodeURIComponent(here)}`);
}

export async function signOut() {
  await fetch("/v1/session", { method: "DELETE", headers: await changing() });
  location.assign("/login");
}
