// Questions to Hark, by GraphQL over HTTP.

const WITHIN_MS = 12_000; // the server itself gives up on its store after ten seconds

/** Hark answered, and the answer is no. `code` is the name of a gRPC status code. */
export class Refusal extends Error {
  constructor(message, code) {
    super(message);
    this.name = "Refusal";
    this.code = code;
  }

  /** Whether asking again may help. */
  get passes() {
    return !["INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED"].includes(this.code);
  }
}

export function refusalOf(errors) {
  const [first] = errors;
  return new Refusal(first.message, first.extensions?.code ?? "INTERNAL");
}

/** The data of the answer. Throws a `Refusal`, or another error where nothing answered. */
export async function ask(query, variables = {}, { signal, withinMs = WITHIN_MS } = {}) {
  const late = AbortSignal.timeout(withinMs);
  const response = await fetch("/graphql", {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({ query, variables }),
    signal: signal ? AbortSignal.any([signal, late]) : late,
  });
  const answer = await response.json();
  signal?.throwIfAborted(); // the answer may have been complete already
  if (answer.errors) throw refusalOf(answer.errors);
  return answer.data;
}

/** In a sentence, what went wrong. */
export function sentenceOf(error) {
  if (error instanceof Refusal) return error.message;
  return error.name === "TimeoutError" ? "The answer took too long." : "Hark does not answer.";
}
