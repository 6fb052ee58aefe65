// Who is signed in, where the API knows sessions; elsewhere nobody is, and everything is open.

const offered = document.body.dataset.offers.split(" ").includes("session");

let asked = null;

// The session, or null; asked for once a page.
export function session() {
  if (!offered) return Promise.resolve(null);
  asked ??= fetch("/v1/session", { headers: { Accept: "application/json" } }).then(
    (answer) => {
      if (answer.status === 401) signIn();
      return answer.ok ? answer.json() : null;
    },
  ).catch(() => {
    asked = null; // the API is away: once more the next time
    return null;
  });
  return asked;
}

// The headers without which nothing may be changed in a session.
export async function changing() {
  const token = (await session())?.csrf_token;
  return token ? { "X-CSRF-Token": token } : {};
}

// To the login, and back to here afterwards.
export function signIn() {
  if (offered) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
}

export async function signOut() {
  const headers = { "Content-Type": "application/json", ...(await changing()) };
  await fetch("/v1/session", { method: "DELETE", headers }).catch(() => {});
  signIn();
}
