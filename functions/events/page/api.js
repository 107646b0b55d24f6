// Asks the API.

/** The answer as an object. Throws an Error with the problem's words; a lost login leads back to the form. */
export async function ask(path, params = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") query.append(key, one);
  }
  const text = query.toString();
  return answered(await fetch(text ? `${path}?${text}` : path, { headers: { accept: "application/json" } }));
}

/** Asks for something to be done. Answers and throws as `ask` does. */
export async function tell(path) {
  return answered(await fetch(path, { method: "POST", headers: { accept: "application/json" } }));
}

async function answered(response) {
  if (response.status === 401) {
    location.reload();
    return new Promise(() => {});
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    const error = new Error(problem.detail ?? `the server answered ${response.status}`);
    error.status = response.status;
    throw error;
  }
  return response.json();
}
