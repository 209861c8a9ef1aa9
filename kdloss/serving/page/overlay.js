// Draws a picture and its faces. Pixel centres lie at integers, so a picture begins half a pixel before the first one.

const style = getComputedStyle(document.documentElement);
const colour = name => style.getPropertyValue(`--${name}`).trim();
const RAMP = ["unsure", "middling", "sure"].map(colour);
const OUTLINE = "#222";

// The colour of a confidence from 0 to 1, or null if it is unknown.
export function shade(confidence) {
  if (confidence === null) return colour("uncalibrated");
  const place = Math.min(Math.max(confidence, 0), 1) * (RAMP.length - 1);
  const first = Math.min(Math.floor(place), RAMP.length - 2);
  const [from, to] = [RAMP[first], RAMP[first + 1]].map(hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16)));
  return `rgb(${from.map((value, i) => Math.round(value + (to[i] - value) * (place - first))).join(" ")})`;
}

export const side = face => Math.sqrt(face.box[2] * face.box[3]);

// The part of the picture to show, as x, y, width, height: all of it, or the part around all faces.
function view(picture, faces, close) {
  if (!close || !faces.length) return [0, 0, picture.width, picture.height];
  const low = [0, 1].map(axis => Math.min(...faces.map(face => face.box[axis] - 0.35 * side(face))));
  const high = [0, 1].map(axis => Math.max(...faces.map(face => face.box[axis] + face.box[axis + 2] + 0.35 * side(face))));
  const [left, top] = low.map(value => Math.max(value, 0));
  const right = Math.min(high[0], picture.width), bottom = Math.min(high[1], picture.height);
  return right - left < 1 || bottom - top < 1 ? [0, 0, picture.width, picture.height]
    : [left, top, right - left, bottom - top];
}

// Draws on a canvas, which grows to `room` CSS pixels and the height of the window.
//   picture: {width, height, bitmap}; without a bitmap only the faces are drawn.
//   shown: {points, skeleton, box, close}, each true or false.
export function draw(canvas, picture, faces, skeleton, shown, room) {
  const [left, top, width, height] = view(picture, faces, shown.close);
  const zoom = Math.min(room / width, Math.max(240, 0.75 * innerHeight) / height);
  const ratio = devicePixelRatio || 1, scale = zoom * ratio;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.style.width = `${canvas.width / ratio}px`;
  canvas.style.height = `${canvas.height / ratio}px`;
  const pen = canvas.getContext("2d");
  pen.fillStyle = OUTLINE;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  if (picture.bitmap) pen.drawImage(picture.bitmap, left, top, width, height, 0, 0, canvas.width, canvas.height);
  const at = ([x, y]) => [(x + 0.5 - left) * scale, (y + 0.5 - top) * scale];
  for (const face of faces) drawFace(pen, face, skeleton, shown, at, scale, ratio);
  if (shown.box && faces.length > 1) faces.forEach((face, i) => drawNumber(pen, i + 1, at(face.box), ratio));
}

// Above the upper left corner of a box.
function drawNumber(pen, number, [x, y], ratio) {
  Object.assign(pen, { font: `bold ${13 * ratio}px system-ui, sans-serif`, textBaseline: "bottom", lineWidth: 3 * ratio });
  Object.assign(pen, { strokeStyle: OUTLINE, fillStyle: colour("drawn") });
  pen.strokeText(number, x, Math.max(y, 16 * ratio));
  pen.fillText(number, x, Math.max(y, 16 * ratio));
}

function drawFace(pen, face, skeleton, shown, at, scale, ratio) {
  const large = side(face) * scale, thick = Math.max(ratio, large / 260);
  // Outlines make lines visible on bright and on dark skin; they would hide a small face.
  const strokes = [[colour("drawn"), thick]];
  if (large >= 150 * ratio) strokes.unshift([OUTLINE, 2.6 * thick]);
  const stroke = path => {
    for (const [strokeStyle, lineWidth] of strokes) {
      Object.assign(pen, { strokeStyle, lineWidth });
      pen.stroke(path);
    }
  };
  pen.lineJoin = pen.lineCap = "round";
  if (shown.box) {
    const [x, y, width, height] = face.box, box = new Path2D();
    box.rect(...at([x, y]), width * scale, height * scale);
    stroke(box);
  }
  if (shown.skeleton) {
    const lines = new Path2D();
    for (const line of skeleton) {
      const [first, ...rest] = line.map(i => at(face.landmarks[i]));
      lines.moveTo(...first);
      for (const point of rest) lines.lineTo(...point);
    }
    stroke(lines);
  }
  if (shown.points) {
    const radius = Math.max(1.2 * ratio, large / 70);
    face.landmarks.forEach((point, i) => {
      const dot = new Path2D();
      dot.arc(...at(point), radius, 0, 2 * Math.PI);
      pen.fillStyle = shade(face.confidence?.[i] ?? null);
      pen.fill(dot);
      if (strokes.length > 1) {
        Object.assign(pen, { strokeStyle: OUTLINE, lineWidth: thick });
        pen.stroke(dot);
      }
    });
  }
}
