// The address of an inbox, whatever the user is called.

// A browser takes these for "here" and "above" even when they are percent-encoded.
const NO_SEGMENTS = [".", ".."];

export function inboxUrl(userId) {
  const encoded = encodeURIComponent(userId);
  return NO_SEGMENTS.includes(userId) ? `/inbox?user=${encoded}` : `/inbox/${encoded}`;
}

/** Whose inbox this address is of. Throws `URIError` where that is no text. */
export function userIdOf(location) {
  if (location.pathname === "/inbox") return new URLSearchParams(location.search).get("user") ?? "";
  return decodeURIComponent(location.pathname.slice("/inbox/".length));
}
