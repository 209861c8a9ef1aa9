// The page: the choices of the user, the requests to the server, and the results.

import { fetchLandmarks, fetchModels } from "./api.js";
import { Camera, Track } from "./camera.js";
import { compare } from "./comparison.js";
import { draw } from "./overlay.js";

const LARGEST = 20e6; // bytes, the server's limit
const $ = id => document.getElementById(id);

let models = []; // descriptions from the server
let picture = null; // {name, blob, bitmap, width, height}
let results = new Map(); // name of a model -> the server's answer, or {error}
let asking = new AbortController(); // aborts the requests about the picture
const camera = new Camera($("video"));
const panels = new Map(); // name of a model -> its elements

const chosen = () => models.filter(model => $("models").querySelector(`[value="${CSS.escape(model.name)}"]`).checked);
const shown = () => Object.fromEntries([...$("shown").querySelectorAll("input")].map(box => [box.name, box.checked]));
const counted = count => (count === 0 ? "No face was found" : count === 1 ? "1 face" : `${count} faces`);
const milliseconds = value => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", failed);
}

function element(tag, { parent, ...properties }) {
  const made = Object.assign(document.createElement(tag), properties);
  parent?.append(made);
  return made;
}

// ---- choices

function listModels() {
  for (const [i, model] of models.entries()) {
    const label = element("label", { parent: $("models") });
    element("input", { type: "checkbox", value: model.name, checked: i === 0, parent: label });
    const words = element("span", { textContent: model.name, parent: label });
    const facts = `${model.arch}, ${model.points} points, ${model.image_size} px, detector ${model.detector}`;
    element("span", { className: "soft", textContent: facts, parent: words });
  }
}

async function choose(file) {
  stopCamera();
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  picture = null;
  results = new Map();
  render();
  if (file.size > LARGEST) {
    say(`${file.name}: ${(file.size / 1e6).toFixed(1)} MB, expected ${LARGEST / 1e6} MB at most: scale it down.`, true);
    return;
  }
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (signal.aborted) return;
  picture = { name: file.name || "pasted picture", blob: file, bitmap, width: bitmap?.width, height: bitmap?.height };
  await ask();
}

// ---- requests

// One model after the other: at the same time they would slow each other down, and their times would not compare.
async function ask() {
  const { signal } = asking, { name, blob } = picture;
  const missing = chosen().filter(model => !results.has(model.name));
  for (const model of missing) {
    say(`${name}: ${model.name} is looking for faces.`);
    render();
    let result;
    try {
      result = await fetchLandmarks(model.name, blob, { signal });
    } catch (error) {
      if (signal.aborted) return;
      result = { error: error.message };
    }
    if (signal.aborted) return;
    results.set(model.name, result);
    if (result.image) fit(result.image);
  }
  render();
  summarise();
}

// Faces are in pixels of the picture as the server reads it, so its size counts. If the browser turns the picture another
// way than the server, or cannot show it, the faces are shown without it.
function fit({ width, height }) {
  if (picture.bitmap && (picture.bitmap.width !== width || picture.bitmap.height !== height)) picture.bitmap = null;
  Object.assign(picture, { width, height });
}

function summarise() {
  const found = chosen().filter(model => results.has(model.name)).map(({ name }) => {
    const { error, faces, milliseconds: times } = results.get(name);
    return error ?? `${name}: ${counted(faces.length).toLowerCase()} in ${milliseconds(times.total)}`;
  });
  const errors = [...results.values()].filter(result => result.error).length;
  // A picture fails for the same reason with every model: say it once.
  if (found.length) say(`${picture.name}: ${[...new Set(found)].join("; ")}.`.replace("..", "."), errors > 0);
}

async function useCamera() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  $("start").disabled = true;
  try {
    await camera.start();
  } catch (error) {
    say(error.message, true);
    return;
  } finally {
    $("start").disabled = false;
  }
  if (signal.aborted || document.hidden) {
    camera.stop();
    return;
  }
  $("start").hidden = true;
  $("stop").hidden = false;
  $("stop").focus();
  say("The camera is on.");
  await watch(signal);
}

// Sends the next frame when the last one is answered.
async function watch(signal) {
  const tracks = new Map(models.map(model => [model.name, new Track()]));
  while (!signal.aborted) {
    const frame = await camera.frame();
    const answers = new Map();
    for (const { name } of chosen()) {
      const track = tracks.get(name);
      try {
        const answer = await fetchLandmarks(name, frame.blob, { boxes: track.next(), signal });
        track.saw(answer);
        answers.set(name, answer);
      } catch (error) {
        if (signal.aborted) return;
        stopCamera();
        say(`The camera was stopped. ${error.message}`, true);
        return;
      }
    }
    if (signal.aborted) return;
    picture = { name: "camera", ...frame };
    results = answers;
    render();
    // Lets the page draw, even if no model is chosen.
    await new Promise(requestAnimationFrame);
  }
}

function stopCamera(text = "") {
  if (!camera.running) return;
  asking.abort();
  asking = new AbortController();
  camera.stop();
  const focused = document.activeElement === $("stop");
  $("stop").hidden = true;
  $("start").hidden = false;
  if (focused) $("start").focus();
  if (text) say(text);
}

// ---- results

function panelOf(name) {
  if (!panels.has(name)) {
    const panel = element("article", { className: "panel" });
    element("h2", { textContent: name, parent: panel });
    const canvas = element("canvas", { parent: panel, role: "img" });
    const found = element("p", { className: "found", parent: panel });
    const poses = element("ul", { className: "poses", title: "Degrees: yaw to the right of the picture, pitch up, roll clockwise", parent: panel });
    const facts = element("p", { className: "facts", parent: panel });
    panels.set(name, { panel, canvas, found, poses, facts });
  }
  return panels.get(name);
}

function render() {
  const visible = picture ? chosen() : [];
  for (const [name, { panel }] of panels) if (!visible.some(model => model.name === name)) panel.remove();
  visible.forEach((model, i) => {
    const { panel } = panelOf(model.name);
    if ($("panels").children[i] !== panel) $("panels").insertBefore(panel, $("panels").children[i] ?? null);
  });
  // After all panels are in place, because their width depends on their number.
  for (const model of visible) renderPanel(model);
  const answers = visible.map(model => results.get(model.name)).filter(result => result && !result.error);
  renderComparison(answers);
  const faces = answers.flatMap(answer => answer.faces);
  $("legend").hidden = !faces.length || !shown().points;
  $("known").hidden = !faces.some(face => face.confidence);
  $("unknown").hidden = !faces.some(face => !face.confidence);
  $("download").disabled = !answers.length;
}

function renderPanel(model) {
  const { panel, canvas, found, poses, facts } = panelOf(model.name), result = results.get(model.name);
  const faces = result?.faces ?? [];
  panel.classList.toggle("failed", Boolean(result?.error));
  panel.setAttribute("aria-busy", String(!result));
  found.textContent = !result ? "Looking for faces" : result.error ?? counted(faces.length);
  // The numbers are those in the picture.
  poses.replaceChildren(...faces.map(({ pose }, i) => element("li", {
    textContent: (faces.length > 1 ? `${i + 1}: ` : "") + (pose ? angles(pose) : "unknown pose"),
  })));
  poses.hidden = !faces.some(face => face.pose);
  facts.textContent = result?.milliseconds ? times(result.milliseconds) : "";
  canvas.hidden = !picture.width;
  if (canvas.hidden) return;
  const space = getComputedStyle(panel);
  const room = panel.clientWidth - parseFloat(space.paddingLeft) - parseFloat(space.paddingRight);
  draw(canvas, picture, faces, model.skeleton, shown(), room);
  canvas.setAttribute("aria-label", `${picture.name}, ${model.name}: ${found.textContent.toLowerCase()}`);
}

function times({ read, detection, landmarks, total }) {
  const parts = [`reading ${milliseconds(read)}`];
  parts.push(detection === null ? "no detection" : `detection ${milliseconds(detection)}`);
  return `${milliseconds(total)}: ${parts.join(", ")}, landmarks ${milliseconds(landmarks)}`;
}

function angles(pose) {
  return Object.entries(pose).map(([name, degrees]) => `${name} ${Math.round(degrees)}°`).join(", ");
}

function renderComparison(answers) {
  const rows = answers.flatMap((first, i) => answers.slice(i + 1).map(second => [first, second]));
  $("comparison").hidden = !rows.length;
  $("comparison").querySelector("tbody").replaceChildren(...rows.map(([first, second]) => {
    const row = element("tr", {}), found = compare(first.faces, second.faces);
    element("th", { scope: "row", textContent: `${first.model} and ${second.model}`, parent: row });
    const cells = !found ? ["", "different points", ""]
      : found.faces ? [found.faces, `${found.mean.toFixed(2)} %`, `${found.largest.toFixed(2)} %`] : [0, "", ""];
    for (const textContent of cells) element("td", { textContent, parent: row });
    return row;
  }));
}

function download() {
  const answers = chosen().map(model => results.get(model.name)).filter(result => result && !result.error);
  const text = JSON.stringify({ image: picture.name, results: answers }, null, 1) + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `${picture.name.replace(/\.[^.]*$/, "").replace(/[^\w-]+/g, "-")}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// ---- events

$("file").addEventListener("change", () => {
  if ($("file").files.length) choose($("file").files[0]);
});
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  // Everywhere on the page: a photograph dropped beside the zone would replace the page.
  document.addEventListener(kind, event => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) choose(event.dataTransfer.files[0]);
  });
}
document.addEventListener("paste", event => {
  const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
  if (file) choose(file);
});
$("models").addEventListener("change", () => {
  render();
  if (!picture || camera.running) return;
  // Starts again with the models that are chosen now.
  asking.abort();
  asking = new AbortController();
  ask();
});
$("shown").addEventListener("change", render);
$("start").addEventListener("click", useCamera);
$("stop").addEventListener("click", () => stopCamera("The camera is off."));
$("download").addEventListener("click", download);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stopCamera("The camera was stopped because the page was hidden.");
});
let width = innerWidth;
addEventListener("resize", () => {
  // Phones send it whenever the address bar moves.
  if (innerWidth !== width) render();
  width = innerWidth;
});

try {
  models = await fetchModels();
  listModels();
  say("Choose a photograph.");
} catch (error) {
  say(error.message, true);
}
