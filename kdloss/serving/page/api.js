// Requests to the server. Every failure is an Error with a message for the user.

async function answered(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?");
  }
  const content = await response.json().catch(() => null);
  if (!response.ok) throw new Error(content?.error ?? `The server answered with status ${response.status}.`);
  return content;
}

export function fetchModels() {
  return answered("/api/models");
}

// The faces of a picture, a Blob. Boxes [[x, y, width, height], ...] replace the detector.
export function fetchLandmarks(model, picture, { boxes = null, signal } = {}) {
  const query = new URLSearchParams({ model });
  if (boxes) query.set("boxes", JSON.stringify(boxes));
  return answered(`/api/landmarks?${query}`, { method: "POST", body: picture, signal });
}
